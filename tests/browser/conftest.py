"""A real Chromium for the tests of pages; where it is not installed, they are skipped."""

import pytest

from browser import browser, missing


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """One browser for all tests."""
    if (program := missing()) is not None:
        pytest.skip(f"no {program} on PATH")
    with browser(tmp_path_factory.mktemp("chromium")) as session:
        yield session


@pytest.fixture
def page(chromium):
    """``page(file)`` opens a page; after the test it must have logged nothing and asked for nothing but its file and its thumbnails."""
    opened = []

    def show(file):
        opened.append(file.resolve().as_uri())
        chromium.open(file)
        chromium.wait("document.body && document.body.dataset.ready")
        return chromium

    chromium.console(), chromium.requests()
    yield show
    asked = [address.partition("#")[0] for address in chromium.requests()]
    assert not chromium.console()
    own = tuple(f"{file.removesuffix('.html')}_images/" for file in opened)
    assert [address for address in asked if address not in opened and not address.startswith(own)] == []
    chromium.emulate(width=1280, height=1000)
