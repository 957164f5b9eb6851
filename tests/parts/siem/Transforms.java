import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.storage.Converter;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * What Kafka Connect makes of records before a sink sees them, by its own converters and transforms: {@code java
 * -cp 'libs/*' Transforms.java CONNECTOR.json} reads the lines of consume.py, and prints a line of topic and key,
 * which a sink takes for index and document id, for each.
 */
class Transforms {
    public static void main(String[] arguments) throws Exception {
        var json = new ObjectMapper();
        Map<String, String> config = new HashMap<>();
        json.readTree(new File(arguments[0])).get("config").fields()
                .forEachRemaining(entry -> config.put(entry.getKey(), entry.getValue().asText()));
        var keys = converter(config, "key.converter", true);
        var values = converter(config, "value.converter", false);
        List<Transformation<SinkRecord>> chain = new ArrayList<>();
        for (var name : config.get("transforms").split(",")) {
            @SuppressWarnings("unchecked")
            var transform = (Transformation<SinkRecord>) made(config.get("transforms." + name + ".type"));
            transform.configure(below(config, "transforms." + name + "."));
            chain.add(transform);
        }
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null;) {
            var record = json.readTree(line);
            var topic = record.get("topic").asText();
            var key = keys.toConnectData(topic, record.get("key").asText().getBytes(StandardCharsets.UTF_8));
            var value = values.toConnectData(topic, record.get("value").asText().getBytes(StandardCharsets.UTF_8));
            var sunk = new SinkRecord(topic, 0, key.schema(), key.value(), value.schema(), value.value(), 0,
                    record.get("timestamp").asLong(), TimestampType.CREATE_TIME);
            for (var transform : chain) {
                sunk = transform.apply(sunk);
            }
            System.out.println(sunk.topic() + " " + sunk.key());
        }
    }

    static Converter converter(Map<String, String> config, String name, boolean isKey) throws Exception {
        var converter = (Converter) made(config.get(name));
        converter.configure(below(config, name + "."), isKey);
        return converter;
    }

    static Object made(String type) throws Exception {
        return Class.forName(type).getDeclaredConstructor().newInstance();
    }

    /** The settings that start so, without it. */
    static Map<String, String> below(Map<String, String> config, String prefix) {
        Map<String, String> below = new HashMap<>();
        config.forEach((name, value) -> {
            if (name.startsWith(prefix)) {
                below.put(name.substring(prefix.length()), value);
            }
        });
        return below;
    }
}
