"""The scheduler of downloads, with made-up hosts."""

import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import urlsplit

import pytest

import polite_download
from http_requests import Failed, Limits, Moved, fetch, retry_after_seconds
from polite_download import Downloader, NetworkDown

SILENT = Failed("no answer", temporary=True, answered=False)


@pytest.fixture
def hosts(monkeypatch):
    """Answers by host; counts requests, and the most at a time."""

    class Hosts:
        def __init__(self):
            self.answers, self.lock = {}, threading.Lock()
            self.asked, self.active, self.most = Counter(), Counter(), Counter()

        def fetch(self, url, limits):
            host = urlsplit(url).netloc
            with self.lock:
                self.asked[host] += 1
                self.active[host] += 1
                self.most[host] = max(self.most[host], self.active[host])
            time.sleep(0.005)
            with self.lock:
                self.active[host] -= 1
            answer = self.answers.get(host, b"data")
            return answer(url) if callable(answer) else answer

    found = Hosts()
    monkeypatch.setattr(polite_download, "fetch", found.fetch)
    return found


def download(urls, handle=lambda key, data: None, **limits):
    limits = {"delay": 0.0, "backoff": 0.0, "workers": 8} | limits
    return dict(Downloader(Limits("test", **limits), handle).run(enumerate(urls)))


@pytest.mark.parametrize("window", [1, 7, 100])
def test_everything_comes_back_once_whatever_the_window(hosts, window):
    urls = [f"http://h{i % 5}/{i}" for i in range(60)]
    handled = []
    found = download(urls, lambda key, data: handled.append((key, data)), window=window)
    assert found == dict.fromkeys(range(60)) and sorted(handled) == [(i, b"data") for i in range(60)]
    assert sum(hosts.asked.values()) == 60


def test_host_limit_holds_for_redirects_too(hosts):
    hosts.answers = {"a": lambda url: Moved(url.replace("//a/", "//c/")), "b": lambda url: Moved(url.replace("//b/", "//c/"))}
    found = download([f"http://{'ab'[i % 2]}/{i}" for i in range(30)], per_host=2)
    assert found == dict.fromkeys(range(30))
    assert hosts.asked == {"a": 15, "b": 15, "c": 30} and max(hosts.most.values()) <= 2


class Clock:
    """In place of the module ``time``: time passes only where somebody sleeps."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_slow_host_does_not_hold_up_the_others(hosts, monkeypatch):
    monkeypatch.setattr(polite_download, "time", clock := Clock())
    order = [key for key, _ in Downloader(Limits("test", delay=0.1), lambda key, data: None).run(
        [("slow", "http://slow/1"), ("slow", "http://slow/2"), ("slow", "http://slow/3"), *((i, f"http://h{i}/") for i in range(20))]
    )]  # fmt: skip
    assert order[-2:] == ["slow", "slow"] and clock.now == pytest.approx(0.2)


def test_dead_host_is_given_up_and_the_others_are_not(hosts):
    hosts.answers = {"dead": SILENT}
    found = download([*(f"http://dead/{i}" for i in range(100)), "http://live/"], attempts=1, per_host=1)
    assert hosts.asked["dead"] == 20 and found[100] is None
    assert Counter(found[i].reason for i in range(100)) == {"no answer": 20, "the host did not answer 20 times in a row": 80}


def test_silence_of_all_hosts_stops_the_download(hosts):
    for i in range(200):
        hosts.answers[f"h{i}"] = SILENT
    with pytest.raises(NetworkDown, match="50 hosts in a row did not answer.*start again"):
        download([f"http://h{i}/" for i in range(200)], attempts=1)
    assert sum(hosts.asked.values()) < 70


def test_temporary_failure_is_tried_again_later_and_a_lasting_one_is_not(hosts):
    hosts.answers = {"busy": Failed("HTTP 503", temporary=True), "gone": Failed("HTTP 404")}
    begun = time.monotonic()
    found = download(["http://busy/", "http://gone/"], attempts=3, backoff=0.05)
    assert hosts.asked == {"busy": 3, "gone": 1} and time.monotonic() - begun >= 0.05 + 0.1
    assert (found[0].reason, found[1].reason) == ("HTTP 503", "HTTP 404")


def test_failure_of_the_handler_is_the_outcome(hosts):
    assert download(["http://a/"], lambda key, data: Failed("no image")) == {0: Failed("no image")}
    with pytest.raises(ZeroDivisionError):  # a bug is not a failed download
        download(["http://a/"], lambda key, data: 1 / 0)


def test_retry_after_may_be_seconds_a_date_or_nonsense():
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert retry_after_seconds("7") == 7
    assert retry_after_seconds(format_datetime(later, usegmt=True)) == pytest.approx(90, abs=3)
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_seconds("soon") is retry_after_seconds(None) is None


@pytest.mark.parametrize(
    ("url", "reason"), [("ftp://a/b", "not an http"), ("file:///etc/passwd", "not an http"), ("http://a:b/", "no sound address")]
)
def test_unsound_addresses_are_lasting_failures(url, reason):
    found = fetch(url, Limits("test"))
    assert found.reason.startswith(reason) and not found.temporary


def test_host_that_has_no_name_may_be_so_for_the_time_being():
    found = fetch("http://nowhere.invalid/", Limits("test"))  # conftest lets no name be resolved
    assert found.temporary and not found.answered
