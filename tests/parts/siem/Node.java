import java.nio.file.Files;
import java.nio.file.Path;
import org.codelibs.opensearch.runner.OpenSearchRunner;

/**
 * One OpenSearch node on loopback: {@code java -cp 'libs/*' Node.java FOLDER HTTP_PORT TRANSPORT_PORT}. Prints
 * {@code ready} when it takes requests, and ends with the process.
 */
class Node {
    public static void main(String[] arguments) throws Exception {
        var folder = Path.of(arguments[0]);
        Files.createDirectories(folder);
        var runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("discovery.type", "single-node");
            settings.putList("discovery.seed_hosts");
            settings.put("network.host", "127.0.0.1");
            settings.put("http.port", arguments[1]);
            settings.put("transport.port", arguments[2]);
            // A disk that is nearly full is no matter of this test.
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
        });
        runner.build(OpenSearchRunner.newConfigs()
                .basePath(folder.toString())
                .numOfNode(1)
                .clusterName("certsieve-tests")
                .disableESLogger());
        System.out.println("ready");
        Thread.currentThread().join();
    }
}
