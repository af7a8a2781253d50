#!/bin/sh
# Rebuild magic_cli/metrics/java/jars/magic-java.jar from the sources beside it, for Java 11 and newer. Needs a JDK.
# The same sources and the same JDK give the same bytes: fixed dates, sorted entries.
set -eu
cd "$(dirname "$0")/../magic_cli/metrics/java/jars"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
${JAVA_HOME:+"$JAVA_HOME/bin/"}javac --release 11 -Xlint:all -Werror -d "$build" src/magic/*.java
cp -r src/META-INF "$build"
cp ../../../LICENSE "$build/META-INF/LICENSE"
python3 - "$build" magic-java.jar <<'PYTHON'
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

folder, jar = Path(sys.argv[1]), sys.argv[2]
with ZipFile(jar, "w") as target:
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        entry = ZipInfo(str(file.relative_to(folder)), date_time=(2020, 1, 1, 0, 0, 0))
        entry.external_attr = 0o644 << 16
        target.writestr(entry, file.read_bytes(), compress_type=ZIP_DEFLATED)
PYTHON
ls -l magic-java.jar
