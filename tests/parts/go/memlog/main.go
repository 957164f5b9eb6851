// memlog is a real RFC 6962 log in one process and without a database: Google's front end
// (certificate-transparency-go, CTFE) over Google's log (Trillian: server and sequencer) with Trillian's
// own storage in memory. It forgets everything when it stops.
//
//	memlog -roots root.pem [-listen 127.0.0.1:0] [-prefix log6962] [-interval 100ms]
//
// Once the log answers, its URL stands alone on a line of standard output.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/certificate-transparency-go/trillian/ctfe"
	"github.com/google/certificate-transparency-go/trillian/ctfe/configpb"
	"github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/crypto/keys"
	"github.com/google/trillian/crypto/keys/der"
	"github.com/google/trillian/crypto/keyspb"
	"github.com/google/trillian/extension"
	trillianlog "github.com/google/trillian/log"
	"github.com/google/trillian/monitoring"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/server/admin"
	"github.com/google/trillian/server/interceptor"
	"github.com/google/trillian/storage/memory"
	"github.com/google/trillian/util/clock"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// What one pass of the sequencer may integrate: a test's whole submission at once.
	sequencerBatch = 2000
	// How long the front end waits for the log behind it.
	backendDeadline = 10 * time.Second
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address of the log")
	roots := flag.String("roots", "", "PEM file of the accepted roots")
	prefix := flag.String("prefix", "log6962", "path of the log")
	interval := flag.Duration("interval", 100*time.Millisecond, "pause between two passes of the sequencer")
	flag.Parse()
	if err := run(context.Background(), *listen, *roots, *prefix, *interval); err != nil {
		fmt.Fprintln(os.Stderr, "memlog:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, roots, prefix string, interval time.Duration) error {
	backend, tree, err := startTrillian(ctx, interval)
	if err != nil {
		return fmt.Errorf("trillian: %w", err)
	}
	config, err := logConfig(tree.TreeId, roots, prefix)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	validated, err := ctfe.ValidateLogConfig(config)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	instance, err := ctfe.SetUpInstance(ctx, ctfe.InstanceOptions{
		Validated: validated, Client: backend, Deadline: backendDeadline, CacheType: "noop",
		MetricFactory: monitoring.InertMetricFactory{}, RequestLog: new(ctfe.DefaultRequestLog),
	})
	if err != nil {
		return fmt.Errorf("front end: %w", err)
	}
	mux := http.NewServeMux()
	for path, handler := range instance.Handlers {
		mux.Handle(path, handler)
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/%s\n", listener.Addr(), prefix)
	return http.Serve(listener, mux)
}

// startTrillian starts log server and sequencer over one storage, and makes the tree they serve. The
// front end only speaks gRPC to it, so it gets a port of its own on loopback.
func startTrillian(ctx context.Context, interval time.Duration) (trillian.TrillianLogClient, *trillian.Tree, error) {
	metrics := monitoring.InertMetricFactory{}
	storage := memory.NewTreeStorage()
	registry := extension.Registry{
		AdminStorage: memory.NewAdminStorage(storage), LogStorage: memory.NewLogStorage(storage, metrics),
		QuotaManager: quota.Noop(), MetricFactory: metrics,
	}
	rpc := grpc.NewServer(grpc.UnaryInterceptor(interceptor.ErrorWrapper))
	trillian.RegisterTrillianAdminServer(rpc, admin.New(registry, nil))
	trillian.RegisterTrillianLogServer(rpc, server.NewTrillianLogRPCServer(registry, clock.System))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	go func() {
		err := rpc.Serve(listener)
		fmt.Fprintln(os.Stderr, "memlog: trillian stopped serving:", err)
		os.Exit(1)
	}()
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	backend := trillian.NewTrillianLogClient(connection)
	tree, err := client.CreateAndInitTree(ctx, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
		TreeState: trillian.TreeState_ACTIVE, TreeType: trillian.TreeType_LOG, MaxRootDuration: durationpb.New(time.Hour),
	}}, trillian.NewTrillianAdminClient(connection), backend)
	if err != nil {
		return nil, nil, err
	}
	sequencer := trillianlog.NewOperationManager(trillianlog.OperationInfo{
		Registry: registry, BatchSize: sequencerBatch, NumWorkers: 1, RunInterval: interval, TimeSource: clock.System,
	}, trillianlog.NewSequencerManager(registry, 0))
	go sequencer.OperationLoop(ctx)
	return backend, tree, nil
}

// logConfig gives the log a key of its own: with the tree in memory, a key on disk would let two trees
// share one log id.
func logConfig(treeID int64, roots, prefix string) (*configpb.LogConfig, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	keys.RegisterHandler(&keyspb.PrivateKey{}, der.FromProto)
	wrapped, err := anypb.New(&keyspb.PrivateKey{Der: private})
	if err != nil {
		return nil, err
	}
	return &configpb.LogConfig{
		LogId: treeID, Prefix: prefix, RootsPemFile: []string{roots},
		PrivateKey: wrapped, PublicKey: &keyspb.PublicKey{Der: public},
		MaxMergeDelaySec: 86400, ExpectedMergeDelaySec: 60,
	}, nil
}
