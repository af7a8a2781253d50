"""Places of files as texts: the absolute path of a file of this machine, or an address such as ``s3://bucket/00000.tar``."""

from __future__ import annotations

import re
from urllib.parse import quote

WEB = ("http://", "https://")
"""How addresses of the web begin; only they may have a query."""
_LOCAL = "file://"
_ADDRESS = re.compile(r"[a-z][\w+.-]*(::[a-z][\w+.-]*)*://", re.IGNORECASE)
"""Also of fsspec's chains, such as ``zip://a.jpg::s3://bucket/photos.zip``."""
_LINK = re.compile(r"(?:^|::)[a-z][\w+.-]*(?=://|::)", re.IGNORECASE)
"""The kind of each address in a chain."""
_QUERY = re.compile(r"\.\w+(?:\?|%3F)([^/?=]+=[^/?]*)$")
"""Behind the ending of a file's name; a relative name in a file is quoted when it is put behind an address of the web."""
_PLAIN = "/%!$&'()*+,:;=@~"
"""What file names in addresses of the web may hold as it is; ``%`` because a name may be quoted already."""


def is_address(place: str) -> bool:
    """Whether a text is an address and no path of this machine.

    >>> [is_address(text) for text in ("s3://bucket/a.tar", "/data/a.tar", "file:///data/a.tar", "/data/a.tar/http://b.jpg")]
    [True, False, False, False]
    """
    found = _ADDRESS.match(place)
    return found is not None and found[0].lower() != _LOCAL


def local(place: str) -> str:
    """A place as the user writes it: kinds of addresses in small letters, a path of this machine without ``file://``.

    >>> local("HTTPS://Host/A.jpg"), local("FILE:///A.jpg"), local("A.jpg")
    ('https://Host/A.jpg', '/A.jpg', 'A.jpg')
    """
    return lowered(place).removeprefix(_LOCAL)


def lowered(place: str) -> str:
    """A place with the kinds of its addresses in small letters, as fsspec knows them.

    >>> lowered("ZIP://A.jpg::S3://Bucket/B.zip"), lowered("HTTPS://Host/A.jpg?b=::S3://c"), lowered("SimpleCache::A.jpg")
    ('zip://A.jpg::s3://Bucket/B.zip', 'https://Host/A.jpg?b=::S3://c', 'SimpleCache::A.jpg')
    """
    if _ADDRESS.match(place) is None:
        return place
    return _LINK.sub(lambda kind: kind[0].lower(), place, count=1 if place.lower().startswith(WEB) else 0)


def leads_here(address: str) -> bool:
    """Whether a chain of addresses ends at, or passes, a file of this machine.

    >>> [leads_here(place) for place in ("zip://a.jpg::/home/b.zip", "simplecache::file:///a.jpg", "local:///a.jpg", "zip://a::s3://b/c")]
    [True, True, True, False]
    """
    links = address.lower().split("::")
    return any(link.startswith((_LOCAL, "local://")) for link in links) or len(links) > 1 and "://" not in links[-1]


def name_of(place: str) -> str:
    """The file name at the end of a place, without the query of a web address.

    >>> [name_of(place) for place in ("https://host/a.tar?signature=b/c", "s3://bucket/b.tar", "/data/c?.tar", "zip://d/e.jpg::/f.zip")]
    ['a.tar', 'b.tar', 'c?.tar', 'e.jpg']
    """
    return path_of(place).rpartition("/")[2]


def query_hint(place: str) -> str:
    """What to say of a missing file whose name looks as if a query stood behind it; "": nothing.

    Of a whole address of the web the query has been asked for.

    >>> query_hint("/photos/a.jpg?w=300")
    '; "?w=300" counts as part of its name, as only a whole address (https://...) has a query'
    >>> query_hint("https://host/a.jpg%3Fw=300") == query_hint("/photos/a.jpg?w=300")
    True
    >>> [query_hint(place) for place in ("https://host/a.jpg?w=300", "cache::https://host/a.jpg?w=300", "/photos/a.v2?.jpg")]
    ['', '', '']
    """
    path = path_of(place)
    found = _QUERY.search(path.partition("?")[0] if path.startswith(WEB) else path)
    return (
        "" if found is None else f'; "?{found[1]}" counts as part of its name, as only a whole address (https://...) has a query'
    )


def folder_of(place: str) -> str:
    """The folder that a file lies in, without the file's query: a signature is of this file alone.

    >>> [folder_of(place) for place in ("https://host/b/a.tar?key=c/d", "/data/a.tar", "/a.tar", "zip://d/e.jpg::/f.zip")]
    ['https://host/b', '/data', '/', 'zip://d::/f.zip']
    """
    before, path, after = _parts(place)
    folder, slash, _ = path.rpartition("/")
    return before + (folder + slash if not folder or folder.endswith(":/") else folder) + ("" if place.startswith(WEB) else after)


def below(folder: str, name: str) -> str:
    """The place of a file, by its path below a folder. The query of a web address (a key, for instance) is that of its files, too.

    >>> below("https://host/b/?key=c", "a dog?.jpg"), below("memory://", "a.jpg"), below("zip://d::/f.zip", "e.jpg")
    ('https://host/b/a%20dog%3F.jpg?key=c', 'memory://a.jpg', 'zip://d/e.jpg::/f.zip')
    """
    before, path, after = _parts(folder)
    if folder.startswith(WEB):
        name = quote(name, safe=_PLAIN)
    return f"{before}{path if path.endswith('://') else path.rstrip('/') + '/'}{name}{after}"


def path_of(place: str) -> str:
    """The part of a place that names folders and file.

    >>> path_of("https://host/a.tar?signature=b/c"), path_of("zip://d/e.jpg::/f.zip")
    ('https://host/a.tar', 'zip://d/e.jpg')
    """
    return _parts(place)[1]


def with_quoted_query(place: str) -> str:
    """A place whose last ``/`` stands in its path: a query may hold it in its other form, too.

    >>> with_quoted_query("https://host/a.tar?signature=b/c"), with_quoted_query("/data/a?/b.tar")
    ('https://host/a.tar?signature=b%2Fc', '/data/a?/b.tar')
    """
    before, path, after = _parts(place)
    return before + path + (after.replace("/", "%2F") if place.startswith(WEB) else after)


def _parts(place: str) -> tuple[str, str, str]:
    """What stands before the path of a place, the path, and what stands behind it: a query, or the other links of a chain."""
    if place.startswith(WEB):
        path, mark, query = place.partition("?")
        return "", path, mark + query
    if not is_address(place):
        return "", place, ""
    links = place.split("::")
    at = next(number for number, link in enumerate(links) if "/" in link)
    return "".join(f"{link}::" for link in links[:at]), links[at], "".join(f"::{link}" for link in links[at + 1 :])
