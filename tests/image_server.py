"""A local HTTP server with hosts of all manners: prints its port, and logs one JSON line a request to the file it is given.

It answers so many requests at once; later ones wait until the file ``LOG.go`` is there.
"""

import io
import json
import math
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

LOG, PAUSE, AT_ONCE = (sys.argv[1], float(sys.argv[2]), float(sys.argv[3])) if __name__ == "__main__" else ("", 0.0, math.inf)
lock = threading.Lock()
seen, active = Counter(), Counter()


def jpeg(number: int, size=(320, 200)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (number * 37 % 256, number * 91 % 256, 120)).save(stream, format="JPEG")
    return stream.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        host = self.headers["Host"].split(":")[0]
        with lock:
            seen[self.path] += 1
            active[host] += 1
            number = seen.total()
            line = {
                "path": self.path,
                "host": host,
                "time": time.time(),
                "at_once": active[host],
                "agent": self.headers["User-Agent"],
            }
            with open(LOG, "a") as stream:
                stream.write(json.dumps(line) + "\n")
        while number > AT_ONCE and not Path(f"{LOG}.go").exists():
            time.sleep(0.01)
        try:
            getattr(self, f"answer_{self.path.split('/')[1]}")(int(self.path.rpartition("/")[2] or 0))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with lock:
                active[host] -= 1

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_image(self, number):
        time.sleep(PAUSE)
        self.reply(200, jpeg(number))

    def answer_dead(self, number):
        self.reply(404, b"gone")

    def answer_slow(self, number):
        self.send_response(200)
        self.end_headers()
        for _ in range(100):  # never silent for long, never done
            self.wfile.write(b"x")
            time.sleep(0.1)

    def answer_silent(self, number):
        time.sleep(5)

    def answer_large(self, number):
        self.reply(200, b"x" * 300_000)

    def answer_endless(self, number):
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"x" * 10_000)

    def answer_text(self, number):
        self.reply(200, b"<html>sorry</html>", Content_Type="image/jpeg")

    def answer_bomb(self, number):
        self.reply(200, jpeg(number, (4000, 4)))

    def answer_moved(self, number):
        self.reply(302, Location=f"http://localhost:{self.server.server_address[1]}/image/{number}")

    def answer_loop(self, number):
        self.reply(301, Location=f"/loop/{number}")

    def answer_local(self, number):
        self.reply(302, Location="file:///etc/passwd")

    def answer_astray(self, number):
        self.reply(302, Location="http://[nowhere/")

    def answer_flaky(self, number):
        self.reply(*((503, b"") if seen[self.path] == 1 else (200, jpeg(number))))

    def answer_busy(self, number):
        if seen[self.path] == 1:
            self.reply(429, Retry_After="1")
        else:
            self.reply(200, jpeg(number))

    def answer_later(self, number):
        self.reply(503, Retry_After="3600")

    def answer_cut(self, number):
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b"x" * 100)

    def answer_noai(self, number):
        self.reply(200, jpeg(number), X_Robots_Tag="noai, noimageai")

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
