import java.nio.file.Path;
import java.util.Map;
import org.opensearch.common.settings.Settings;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;

/** A node without the start script's checks of the machine, which want more open files than it may have. */
final class Launcher {
    public static void main(String[] arguments) throws Exception {
        var settings = Settings.builder().put("path.home", arguments[0]).build();
        var configuration = Path.of(arguments[1]);
        new Node(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), configuration, () -> "node")).start();
        Thread.currentThread().join();
    }
}
