"""await.py URL PID LOG: waits until the server of that process answers there."""

import pathlib
import sys
import time
import urllib.error
import urllib.request

LIMIT = 120  # seconds; a JVM on an overloaded machine takes 20


def answers(url):
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        pass  # an answer all the same
    except OSError:
        return False
    return True


def main(url, pid, log):
    deadline = time.monotonic() + LIMIT
    # A process that ended leaves /proc even if its parent has yet to notice: as "Z".
    while not answers(url):
        try:
            ended = pathlib.Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            ended = True
        if ended or time.monotonic() > deadline:
            why = "it has ended" if ended else f"it does not answer within {LIMIT} s"
            sys.exit(f"{why}; the end of {log}:\n" + "\n".join(pathlib.Path(log).read_text().splitlines()[-20:]))
        time.sleep(0.1)


main(*sys.argv[1:])
