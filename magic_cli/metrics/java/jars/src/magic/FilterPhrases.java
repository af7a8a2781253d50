// SPDX-License-Identifier: MIT
package magic;

import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.Deflater;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;

/**
 * Keeps of a METEOR paraphrase table the entries that can match texts of a given vocabulary.
 *
 * <p>Usage: {@code magic.FilterPhrases TABLE.gz VOCABULARY OUTPUT.gz}. An entry is three lines: a probability and two
 * phrases. It is kept if in both phrases every run of ASCII letters and digits is a line of VOCABULARY, and so is every two
 * that follow each other, with a space between. They are compared by a 64-bit hash: a collision keeps an entry too many, which
 * does no harm.
 */
public final class FilterPhrases {
    private static final long OFFSET = 0xcbf29ce484222325L;
    private static final long PRIME = 0x100000001b3L;

    private final long[] slots;
    private final byte[] entry = new byte[1 << 16];

    private FilterPhrases(int words) {
        slots = new long[Integer.highestOneBit(Math.max(16, words)) * 4];
    }

    public static void main(String[] arguments) throws IOException {
        Path vocabulary = Path.of(arguments[1]);
        int words = 0;
        try (BufferedReader lines = Files.newBufferedReader(vocabulary, StandardCharsets.US_ASCII)) {
            while (lines.readLine() != null) {
                words++;
            }
        }
        FilterPhrases filter = new FilterPhrases(words);
        try (BufferedReader lines = Files.newBufferedReader(vocabulary, StandardCharsets.US_ASCII)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                filter.add(line);
            }
        }
        try (InputStream table = new GZIPInputStream(Files.newInputStream(Path.of(arguments[0])), 1 << 16);
                OutputStream output = new BufferedOutputStream(new FastGzip(Files.newOutputStream(Path.of(arguments[2]))), 1 << 16)) {
            filter.copy(table, output);
        }
    }

    private void copy(InputStream table, OutputStream output) throws IOException {
        byte[] buffer = new byte[1 << 16];
        int size = 0;
        int line = 0;
        boolean kept = true;
        long hash = OFFSET;
        long before = 0;
        for (int read = table.read(buffer); read >= 0; read = table.read(buffer)) {
            for (int i = 0; i < read; i++) {
                byte letter = buffer[i];
                if (size == entry.length) {
                    throw new IOException("an entry of more than " + entry.length + " bytes");
                }
                entry[size++] = letter;
                if (line > 0 && kept) {
                    if (isPartOfRun(letter)) {
                        hash = (hash ^ letter) * PRIME;
                    } else if (hash != OFFSET) {
                        kept = contains(hash) && (before == 0 || contains(pair(before, hash)));
                        before = hash;
                        hash = OFFSET;
                    }
                    if (letter == '\n') {
                        before = 0;
                    }
                }
                if (letter == '\n' && ++line == 3) {
                    if (kept) {
                        output.write(entry, 0, size);
                    }
                    size = 0;
                    line = 0;
                    kept = true;
                    hash = OFFSET;
                    before = 0;
                }
            }
        }
        if (size > 0) {
            throw new IOException("the table ends within an entry");
        }
    }

    private static boolean isPartOfRun(byte letter) {
        return letter >= 'a' && letter <= 'z' || letter >= '0' && letter <= '9' || letter >= 'A' && letter <= 'Z';
    }

    private static long pair(long first, long second) {
        return (first * 31 + second) * PRIME;
    }

    private static long hashOf(String word) {
        long hash = OFFSET;
        for (int i = 0; i < word.length(); i++) {
            hash = (hash ^ (byte) word.charAt(i)) * PRIME;
        }
        return hash;
    }

    private void add(String line) {
        int space = line.indexOf(' ');
        long hash = space < 0 ? hashOf(line) : pair(hashOf(line.substring(0, space)), hashOf(line.substring(space + 1)));
        int slot = slot(hash);
        while (slots[slot] != 0 && slots[slot] != hash) {
            slot = slot + 1 & slots.length - 1;
        }
        slots[slot] = hash;
    }

    private boolean contains(long hash) {
        int slot = slot(hash);
        while (slots[slot] != 0) {
            if (slots[slot] == hash) {
                return true;
            }
            slot = slot + 1 & slots.length - 1;
        }
        return false;
    }

    private int slot(long hash) {
        return (int) (hash ^ hash >>> 32) & slots.length - 1;
    }

    /** Written once and read once: speed counts, not size. */
    private static final class FastGzip extends GZIPOutputStream {
        FastGzip(OutputStream output) throws IOException {
            super(output, 1 << 16);
            def.setLevel(Deflater.BEST_SPEED);
        }
    }
}
