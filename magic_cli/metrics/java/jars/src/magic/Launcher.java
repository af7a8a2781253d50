// SPDX-License-Identifier: MIT
package magic;

import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;

/**
 * Runs another program's main, once or several times in one JVM, and ends the JVM as soon as System.in ends.
 *
 * <p>Usage: {@code java -cp magic-java.jar:target.jar magic.Launcher MAIN_CLASS [ARGUMENT ...] [--then ARGUMENT ...] ...}
 *
 * <p>Each {@code --then} starts main again with the arguments after it, once the run before it has returned: what the
 * program holds in static fields, such as models, is loaded once.
 *
 * <p>The parent process holds the other end of System.in. When the parent dies, by SIGKILL too, the operating system
 * closes that end, and so no JVM outlives its parent. Programs that read System.in themselves must not be run this way.
 *
 * <p>Exit status: the program's own; 1 if main throws; 2 if it cannot be found; 86 if System.in ended first.
 */
public final class Launcher {
    private static final int PARENT_GONE = 86;
    private static final String NEXT_RUN = "--then";

    private Launcher() {}

    public static void main(String[] arguments) throws Throwable {
        if (arguments.length == 0) {
            System.err.println("usage: magic.Launcher MAIN_CLASS [ARGUMENT ...]");
            System.exit(2);
        }
        Thread watch = new Thread(Launcher::haltWhenInputEnds, "parent-watch");
        watch.setDaemon(true);
        watch.start();
        Method main;
        try {
            main = Class.forName(arguments[0]).getMethod("main", String[].class);
        } catch (ReflectiveOperationException | LinkageError error) {
            System.err.println("magic.Launcher: cannot load " + arguments[0] + ": " + error);
            System.exit(2);
            return;
        }
        try {
            for (String[] run : runs(arguments)) {
                main.invoke(null, (Object) run);
            }
        } catch (InvocationTargetException error) {
            // The JVM would wait for the program's other threads, which may wait for work for ever.
            error.getCause().printStackTrace();
            System.exit(1);
        }
    }

    /** The arguments of each run, in order; at least one run, which may have no arguments. */
    private static List<String[]> runs(String[] arguments) {
        List<String[]> runs = new ArrayList<>();
        List<String> run = new ArrayList<>();
        for (int i = 1; i < arguments.length; i++) {
            if (arguments[i].equals(NEXT_RUN)) {
                runs.add(run.toArray(new String[0]));
                run.clear();
            } else {
                run.add(arguments[i]);
            }
        }
        runs.add(run.toArray(new String[0]));
        return runs;
    }

    private static void haltWhenInputEnds() {
        InputStream input = System.in;
        byte[] ignored = new byte[1024];
        try {
            while (input.read(ignored) >= 0) {
                // Only the end of the stream matters.
            }
        } catch (IOException error) {
            System.err.println("magic.Launcher: standard input failed: " + error);
        }
        // halt, not exit: shutdown hooks of the program could hang.
        Runtime.getRuntime().halt(PARENT_GONE);
    }
}
