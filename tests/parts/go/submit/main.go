// submit is the tests' certificate authority: it issues precertificate and certificate pairs of every
// kind that certsieve must judge, hands them to CT logs as a real authority would, and says on standard
// output, one JSON line for each log that took one, what it handed in. That is what tests hold against
// what comes out at the other end.
//
//	submit ca  -dir DIR
//	submit add -dir DIR -kind KIND [-n N] [-names K] -log URL [-log URL…]
//
// The same pair goes to every log named. A log that refuses one ends the run with exit code 1.
// Kinds: dns, ip, ip6, mixed, cnip, wild, many, badip, badip-mixed.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// Enough to fill a log's batch, few enough to need no tuning of file limits.
	workers = 32
	// A sequencer under load answers within its merge period; far more means that it is stuck.
	requestTimeout = 30 * time.Second
	// An answer is one SCT; whatever is longer is not one.
	maxAnswer = 64 << 10
)

// The addresses that tests watch.
var (
	watched4 = netip.MustParseAddr("1.1.1.1")
	watched6 = netip.MustParseAddr("2606:4700:4700::1111")
)

// submitted is one line of output.
type submitted struct {
	Log         string   `json:"log"`
	Index       *uint64  `json:"index"` // null where the log's SCT does not carry it (RFC 6962)
	Kind        string   `json:"kind"`
	Entry       string   `json:"entry"`
	SHA256      string   `json:"sha256"` // of the DER as handed in
	Serial      string   `json:"serial"` // magnitude, lower-case hex
	IssuerKeyID string   `json:"issuer_key_id"`
	CommonName  string   `json:"common_name"`
	Names       []string `json:"names"`
	IPs         []string `json:"ips"`
	BadIPs      []string `json:"bad_ips"` // iPAddress of a length that is none, hex
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: submit ca|add -dir DIR …"))
	}
	var logs []string
	flags := flag.NewFlagSet("submit "+os.Args[1], flag.ExitOnError)
	dir := flags.String("dir", "", "folder of the authority's key and root")
	kind := flags.String("kind", "dns", "what the certificates name")
	n := flags.Int("n", 1, "issuances")
	names := flags.Int("names", 500, "names of a certificate of kind many")
	flags.Func("log", "submission prefix, repeatable", func(url string) error {
		logs = append(logs, strings.TrimSuffix(url, "/"))
		return nil
	})
	flags.Parse(os.Args[2:])

	var err error
	switch os.Args[1] {
	case "ca":
		_, err = openAuthority(*dir)
	case "add":
		err = add(*dir, *kind, *n, *names, logs)
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	fail(err)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "submit:", err)
		os.Exit(1)
	}
}

// add issues n pairs and hands each to every log. A certificate follows its own precertificate, as in
// life; pairs run side by side.
func add(dir, kind string, n, names int, logs []string) error {
	if len(logs) == 0 {
		return errors.New("no -log given")
	}
	ca, err := openAuthority(dir)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: requestTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: workers}}

	var mu sync.Mutex
	var firstErr error
	out := json.NewEncoder(os.Stdout)
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	var wg sync.WaitGroup
	for range min(workers, n) {
		wg.Go(func() {
			for range work {
				lines, err := ca.pair(client, kind, names, logs)
				mu.Lock()
				for _, line := range lines {
					err = errors.Join(err, out.Encode(line))
				}
				if firstErr == nil {
					firstErr = err
				}
				stop := firstErr != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	return firstErr
}

// authority is a root that issues directly, and one key that all its subjects share: what is tested is
// what stands in a certificate, not how its key was made.
type authority struct {
	root    *x509.Certificate
	key     *ecdsa.PrivateKey
	subject *ecdsa.PublicKey
}

// openAuthority reads the authority in dir, or makes it there.
func openAuthority(dir string) (*authority, error) {
	if dir == "" {
		return nil, errors.New("no -dir given")
	}
	rootPath, keyPath := filepath.Join(dir, "root.pem"), filepath.Join(dir, "root-key.pem")
	if _, err := os.Stat(rootPath); errors.Is(err, os.ErrNotExist) {
		if err := makeAuthority(dir, rootPath, keyPath); err != nil {
			return nil, err
		}
	}
	rootDER, err := readPEM(rootPath)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(rootDER)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rootPath, err)
	}
	keyDER, err := readPEM(keyPath)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	subject, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &authority{root, key, &subject.PublicKey}, nil
}

func makeAuthority(dir, rootPath, keyPath string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	root := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{Country: []string{"XX"}, Organization: []string{"Local Test CA"}, CommonName: "Local Test Root"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(5, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	// The root is written last: where it stands, its key does too.
	if err := os.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(rootPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func readPEM(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", path)
	}
	return block.Bytes, nil
}

// pair issues one thing and hands each of its entries to every log.
func (ca *authority) pair(client *http.Client, kind string, names int, logs []string) ([]submitted, error) {
	var serial [16]byte
	if _, err := rand.Read(serial[:]); err != nil {
		return nil, err
	}
	// The first byte's top bit is set, so that DER puts a zero byte before it: the two forms of a serial
	// that must be one issuance key.
	serial[0] |= 0x80
	subject, err := subjectOf(kind, "h"+hex.EncodeToString(serial[:6])+".example.test", names)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var lines []submitted
	for _, entry := range []string{"precertificate", "certificate"} {
		der, err := ca.issue(serial[:], subject, entry == "precertificate", now)
		if err != nil {
			return lines, err
		}
		hash := sha256.Sum256(der)
		for _, log := range logs {
			line := submitted{
				Log: log, Kind: kind, Entry: entry, SHA256: hex.EncodeToString(hash[:]),
				Serial: hex.EncodeToString(serial[:]), IssuerKeyID: hex.EncodeToString(ca.root.SubjectKeyId),
				CommonName: subject.commonName, Names: orEmpty(subject.names), IPs: []string{}, BadIPs: []string{},
			}
			for _, octets := range subject.addresses {
				if addr, ok := netip.AddrFromSlice(octets); ok {
					line.IPs = append(line.IPs, addr.String())
				} else {
					line.BadIPs = append(line.BadIPs, hex.EncodeToString(octets))
				}
			}
			if line.Index, err = ca.hand(client, log, entry, der); err != nil {
				return lines, err
			}
			lines = append(lines, line)
		}
	}
	return lines, nil
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// subject is what a certificate names: iPAddress as octets of any number, which x509.Certificate's own
// fields would not let pass.
type subject struct {
	commonName string
	names      []string
	addresses  [][]byte
}

func subjectOf(kind, name string, names int) (subject, error) {
	badIP := []byte{1, 1, 1, 1, 1}
	switch kind {
	case "dns":
		return subject{commonName: name, names: []string{name}}, nil
	case "ip":
		return subject{addresses: [][]byte{watched4.AsSlice()}}, nil
	case "ip6":
		return subject{addresses: [][]byte{watched6.AsSlice()}}, nil
	case "mixed":
		return subject{commonName: name, names: []string{name}, addresses: [][]byte{watched4.AsSlice()}}, nil
	case "cnip":
		return subject{commonName: watched4.String(), addresses: [][]byte{watched4.AsSlice()}}, nil
	case "wild":
		return subject{commonName: "*." + name, names: []string{"*." + name, name}}, nil
	case "many":
		var s subject
		for i := range names {
			s.names = append(s.names, fmt.Sprintf("n%d.%s", i, name))
		}
		return s, nil
	case "badip":
		return subject{addresses: [][]byte{badIP}}, nil
	case "badip-mixed":
		return subject{commonName: name, names: []string{name}, addresses: [][]byte{badIP}}, nil
	}
	return subject{}, fmt.Errorf("unknown kind %q", kind)
}

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidPoison         = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}
)

// issue signs one entry; poison makes it a precertificate (RFC 6962, section 3.1).
func (ca *authority) issue(serial []byte, s subject, poison bool, now time.Time) ([]byte, error) {
	san, err := s.subjectAltName()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:    new(big.Int).SetBytes(serial),
		Subject:         pkix.Name{CommonName: s.commonName},
		NotBefore:       now.Add(-time.Minute),
		NotAfter:        now.AddDate(0, 0, 90),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		ExtraExtensions: []pkix.Extension{san},
	}
	if poison {
		null := []byte{asn1.TagNull, 0}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidPoison, Critical: true, Value: null})
	}
	return x509.CreateCertificate(rand.Reader, template, ca.root, ca.subject, ca.key)
}

// subjectAltName is a sequence of GeneralName: [2] dNSName, [7] iPAddress (RFC 5280, section 4.2.1.6).
func (s subject) subjectAltName() (pkix.Extension, error) {
	var generalNames []asn1.RawValue
	for _, name := range s.names {
		generalNames = append(generalNames, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)})
	}
	for _, octets := range s.addresses {
		generalNames = append(generalNames, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 7, Bytes: octets})
	}
	value, err := asn1.Marshal(generalNames)
	return pkix.Extension{Id: oidSubjectAltName, Value: value}, err
}

// hand submits one entry (RFC 6962, section 4.1 and 4.2) and returns the leaf index where the SCT carries
// one (static-ct-api, "leaf_index" extension).
func (ca *authority) hand(client *http.Client, log, entry string, der []byte) (*uint64, error) {
	endpoint := log + "/ct/v1/add-chain"
	if entry == "precertificate" {
		endpoint = log + "/ct/v1/add-pre-chain"
	}
	body, err := json.Marshal(map[string][][]byte{"chain": {der, ca.root.Raw}})
	if err != nil {
		return nil, err
	}
	response, err := client.Post(endpoint, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", endpoint, response.Status, bytes.TrimSpace(text))
	}
	var sct struct {
		Extensions string `json:"extensions"`
	}
	if err := json.Unmarshal(text, &sct); err != nil {
		return nil, fmt.Errorf("%s: %w", endpoint, err)
	}
	extensions, err := base64.StdEncoding.DecodeString(sct.Extensions)
	if err != nil {
		return nil, fmt.Errorf("%s: extensions: %w", endpoint, err)
	}
	return leafIndex(extensions), nil
}

// leafIndex reads the one extension that a static-ct log sets: type 0, length 5, a 40-bit index.
func leafIndex(extensions []byte) *uint64 {
	if len(extensions) != 8 || extensions[0] != 0 || extensions[1] != 0 || extensions[2] != 5 {
		return nil
	}
	var index uint64
	for _, b := range extensions[3:] {
		index = index<<8 | uint64(b)
	}
	return &index
}
