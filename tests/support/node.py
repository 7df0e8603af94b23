# SPDX-License-Identifier: Apache-2.0
"""A node of the tests: the real millraced on a temporary data directory, killed and started again; workers beside it; cases and their lines.

Nothing outlives the script: children die with it (PR_SET_PDEATHSIG), folders on disk and in memory and reserved hugepages are given back at
exit. Every wait has its bound."""
import atexit
import ctypes
import mmap
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("MR_BUILD", os.path.join(ROOT, "build"))
MILLRACED = os.path.join(BUILD, "dataplane", "millraced")
CONTROL = os.path.join(BUILD, "control", "daemon", "millrace-control")
MILLRACE = os.path.join(BUILD, "control", "cli", "millrace")
WORKER = os.path.join(BUILD, "tests", "crash", "crash_worker")
REFUSE_URING = os.path.join(BUILD, "tests", "crash", "refuse_uring")
LEVEL = os.environ.get("MR_TEST_LEVEL", "normal")
SANITIZED = "-address" in BUILD or "-thread" in BUILD or "-undefined" in BUILD
SLOW = 6 if SANITIZED else 1
HUGE = "/sys/kernel/mm/hugepages/hugepages-2048kB/"
FIRST_SEQUENCE = (1 << 31) - 5000
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
READY = r"millraced: ready: "


def count(quick, normal, full):
    return {"quick": quick, "normal": normal, "full": full}[LEVEL]


def seed():
    value = int(os.environ.get("MR_SEED", "0"), 0) or int.from_bytes(os.urandom(4), "little") or 1
    print("MR_SEED=%d" % value, flush=True)
    return value


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(what, seconds, step=0.001):
    """@return what it returned once true, else None after `seconds`"""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            return None
        time.sleep(step)


def read_text(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""


class Failure(Exception):
    pass


def check(condition, why):
    if not condition:
        raise Failure(why)


class Skip(Exception):
    pass


class Cases:
    """One line a case; the closing line and the status at the end."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def run(self, name, function, *args):
        begin = time.monotonic()
        folder = tempfile.mkdtemp(prefix="millrace-test-")
        keep = os.environ.get("MR_KEEP")
        try:
            said = function(folder, *args) or ""
            self.passed += 1
            print("ok %s: %s%.1f s" % (name, said + "; " if said else "", time.monotonic() - begin), flush=True)
        except Skip as skip:
            self.skipped += 1
            print("SKIP %s: %s" % (name, skip), flush=True)
        except Exception as failure:   # a broken case is a failed one; the others still run
            self.failed += 1
            for node in Node.all:
                if node.folder == folder:
                    sys.stdout.write("    " + "\n    ".join(node.log_lines()[-25:]) + "\n")
            for entry in sorted(os.listdir(folder)):
                if entry.endswith(".err") and os.path.getsize(os.path.join(folder, entry)) > 0:
                    text = read_text(os.path.join(folder, entry)).splitlines()
                    sys.stdout.write("".join("    %s: %s\n" % (entry, line) for line in text[:25]))
            print("FAIL %s: %s" % (name, str(failure).replace("\n", " ")), flush=True)
            if keep:
                print("    kept in %s" % folder)
        finally:
            for node in [n for n in Node.all if n.folder == folder]:
                node.end(keep=bool(keep) and self.failed > 0)
            for worker in [w for w in Worker.all if w.folder == folder]:
                worker.end()
            for huge in list(Hugepages.all):
                huge.release()
            if not (keep and self.failed):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self):
        print("%d passed, %d failed, %d skipped" % (self.passed, self.failed, self.skipped), flush=True)
        sys.exit(1 if self.failed else 0)


class Node:
    all = []

    def __init__(self, folder, settings=None, through_up=False, wrap=(), env=None, data=None):
        self.folder = folder
        self.data = data or os.path.join(folder, "data")
        self.socket = os.path.join(folder, "s")
        self.log = os.path.join(folder, "millraced.log")
        self.through_up = through_up
        self.wrap = list(wrap)
        self.env = dict(os.environ, MILLRACE_SOCKET=self.socket, **(env or {}))
        self.settings = {"millrace.socket": self.socket, "millrace.hugepages": "off", "millrace.memory.bytes": "1GiB"}
        self.settings.update(settings or {})
        self.process = None
        self.control = None   # beside millraced; below `millrace up` it is that one's child
        self.starts = 0
        self.memory_id = None
        self.huge_mounts = [self.settings["millrace.hugepages"]] if self.settings["millrace.hugepages"].startswith("/") else []
        Node.all.append(self)

    def arguments(self):
        sets = [part for key, value in self.settings.items() for part in ("--set", "%s=%s" % (key, value))]
        return ["--data", self.data] + sets

    def command(self):
        program = [MILLRACE, "up"] if self.through_up else [MILLRACED]
        return self.wrap + program + self.arguments()

    def start_control(self):
        """It outlives millraced, and attaches to each that comes."""
        with open(os.path.join(self.folder, "control.log"), "ab") as log:
            self.control = subprocess.Popen([CONTROL] + self.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                                            preexec_fn=die_with_parent)

    def control_lines(self):
        return read_text(os.path.join(self.folder, "control.log")).splitlines()

    def spawn(self):
        """Start without waiting. @return the time, monotonic ns"""
        now_ns = time.monotonic_ns()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, preexec_fn=die_with_parent)
        self.starts += 1
        if not self.through_up and (self.control is None or self.control.poll() is not None):
            self.start_control()
        return now_ns

    def start(self, seconds=20):
        self.spawn()
        check(self.wait_ready(seconds), "millraced is not ready after %d s (status %s)" % (seconds, self.process.poll()))
        return self

    def log_lines(self):
        return read_text(self.log).splitlines()

    def log_count(self, pattern):
        return len(re.findall(pattern, read_text(self.log)))

    def wait_ready(self, seconds=20):
        found = wait_until(lambda: self.log_count(READY) >= self.starts or self.process.poll() is not None, seconds * SLOW)
        if self.memory_id is None:
            self.memory_id = self.read_id()
        return bool(found) and self.process.poll() is None

    def read_id(self):
        match = re.search(r"^directory\.id=([0-9a-f]{32})$", read_text(os.path.join(self.data, "meta.properties")), re.M)
        return match.group(1) if match else None

    def daemon_pid(self):
        """Of millraced, also below `millrace up`."""
        return self.child_pid("millraced") if self.through_up else self.process.pid

    def control_pid(self):
        return self.child_pid("millrace-contro") if self.through_up else self.control.pid

    def child_pid(self, name):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = read_text("/proc/%s/stat" % entry).rsplit(")", 1)
                if len(fields) == 2 and fields[0].endswith("(" + name) and int(fields[1].split()[1]) == self.process.pid and not fields[1].startswith(" Z"):
                    return int(entry)
        return None

    def kill(self):
        """kill -9 of the daemon, until it is gone. @return the time of the signal, monotonic ns"""
        now_ns = time.monotonic_ns()
        if self.through_up:
            pid = wait_until(self.daemon_pid, 15)
            check(pid, "`millrace up` has no child")
            os.kill(pid, signal.SIGKILL)
            self.starts += 1   # the supervisor's doing
        else:
            check(self.process.poll() is None, "millraced died by itself, status %s" % self.process.returncode)
            self.process.kill()
            self.process.wait(20)
        return now_ns

    def stop(self, seconds=60):
        """A clean stop. @return the status"""
        check(self.process.poll() is None, "millraced ended by itself, status %s" % self.process.returncode)
        self.process.terminate()
        try:
            return self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise Failure("millraced did not stop within %d s of SIGTERM" % (seconds * SLOW))

    def memory_folders(self):
        self.memory_id = self.memory_id or self.read_id()
        if self.memory_id is None:
            return []
        mounts = ["/dev/shm"] + self.huge_mounts
        return [p for p in (os.path.join(m, "millrace-" + self.memory_id) for m in mounts) if os.path.isdir(p)]

    def lose_memory(self):
        """What a power cut does to the tail."""
        for folder in self.memory_folders():
            shutil.rmtree(folder)

    def run(self, *args, seconds=30, stdin=None):
        """The command line against this node. @return (status, stdout, stderr)"""
        done = subprocess.run([MILLRACE] + list(args), env=self.env, capture_output=True, text=True, errors="replace", timeout=seconds * SLOW,
                              input=stdin, preexec_fn=die_with_parent)
        return done.returncode, done.stdout, done.stderr

    def topic(self, name, partitions, *config):
        pairs = [part for pair in config for part in ("--config", pair)]
        status, _, err = self.run("topic", "create", name, "--partitions", str(partitions), *pairs)
        check(status == 0, "topic create %s: status %d: %s" % (name, status, err.strip()))

    def verify(self, seconds=120):
        status, out, err = self.run("log", "verify", self.data, seconds=seconds)
        check(status == 0, "log verify: status %d: %s" % (status, (out + err).strip()[-400:]))

    def end(self, keep=False):
        if self.process is not None and self.process.poll() is None:
            below = [self.daemon_pid(), self.control_pid()] if self.through_up else []
            self.process.kill()
            self.process.wait(20)
            for pid in below:
                try:
                    if pid is not None:
                        os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
        if self.control is not None and self.control.poll() is None:
            self.control.kill()
            self.control.wait(20)
        if not keep:
            self.lose_memory()
        if self in Node.all:
            Node.all.remove(self)


class Worker:
    """One crash_worker with its panel."""
    all = []
    number = 0

    def __init__(self, node, mode, topic, *options, folder=None):
        Worker.number += 1
        self.folder = node.folder
        self.name = "%s-%s-%d" % (mode, topic, Worker.number)
        acks = folder or os.path.join(node.folder, "acks-" + topic)
        os.makedirs(acks, exist_ok=True)
        self.panel_path = os.path.join(node.folder, self.name + ".panel")
        with open(self.panel_path, "wb") as f:
            f.truncate(64 * 17)
        with open(self.panel_path, "r+b") as f:
            self.panel = mmap.mmap(f.fileno(), 64 * 17)
        self.out = os.path.join(node.folder, self.name + ".out")
        self.err = os.path.join(node.folder, self.name + ".err")
        command = [WORKER, mode, "--topic", topic, "--folder", acks, "--socket", node.socket, "--panel", self.panel_path, "--first-sequence",
                   str(FIRST_SEQUENCE)] + [str(o) for o in options]
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=die_with_parent)
        Worker.all.append(self)

    def word(self, index):
        return struct.unpack_from("<Q", self.panel, 8 * index)[0]

    def set_word(self, index, value):
        struct.pack_into("<Q", self.panel, 8 * index, value)

    def mark(self, now_ns):
        self.set_word(1, now_ns)

    def hold(self, on):
        self.set_word(2, 1 if on else 0)

    def pause(self, on):
        self.set_word(3, 1 if on else 0)

    def failures(self):
        return self.word(4)

    def thread(self, index, field):
        """committed 0, acked 1, pending 2, last_ack_ns 3, first_after_mark 4, again 5, refused 6"""
        return self.word(8 + 8 * index + field)

    def sum(self, field, threads=16):
        return sum(self.thread(i, field) for i in range(threads))

    def first_after_mark(self, mark_ns):
        times = [t for t in (self.thread(i, 4) for i in range(16)) if t > mark_ns]
        return min(times) if times else 0

    def running(self):
        return self.word(0) == 1 and self.process.poll() is None

    def wait_running(self, seconds=15):
        check(wait_until(lambda: self.word(0) >= 1 or self.process.poll() is not None, seconds * SLOW) and self.process.poll() is None,
              "%s did not begin: %s" % (self.name, read_text(self.err).strip()[:300]))

    def alive(self):
        check(self.process.poll() is None, "%s ended: status %s: %s" % (self.name, self.process.returncode, read_text(self.err).strip()[:400]))
        check(self.failures() == 0, "%s: %s" % (self.name, read_text(self.err).strip()[:400]))

    def finish(self, seconds=60):
        """SIGTERM, and what it says at its end."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait(seconds)

    def wait(self, seconds=60):
        try:
            status = self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise Failure("%s did not end within %d s (pending %d)" % (self.name, seconds * SLOW, self.sum(2)))
        check(status == 0, "%s: status %d: %s" % (self.name, status, read_text(self.err).strip()[:400]))
        return read_text(self.out).strip()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)
        if self in Worker.all:
            Worker.all.remove(self)


class Hugepages:
    """Reserve some and mount a hugetlbfs; Cases.run() gives both back when the case is over."""
    all = []

    def __init__(self, pages, overcommit=True):
        """@param overcommit False: the pool does not grow by itself while the case runs (the kernel may be set to let it)"""
        Hugepages.all.append(self)
        self.mount = self.before = self.overcommit = None
        before = read_text(HUGE + "nr_overcommit_hugepages")
        if not overcommit and before.strip() not in ("", "0"):
            try:
                with open(HUGE + "nr_overcommit_hugepages", "w") as f:
                    f.write("0")
            except OSError as error:
                raise Skip("cannot keep the pool from growing: %s" % error)
            self.overcommit = before
        self.before = int(read_text(HUGE + "nr_hugepages") or 0)
        free = int(read_text(HUGE + "free_hugepages") or 0)
        if free < pages:
            try:
                with open(HUGE + "nr_hugepages", "w") as f:
                    f.write(str(self.before + pages - free))
            except OSError as error:
                raise Skip("cannot reserve %d hugepages: %s" % (pages, error))
        free = int(read_text(HUGE + "free_hugepages") or 0)
        if free < pages:
            raise Skip("%d hugepages of 2 MiB wanted, the kernel found %d" % (pages, free))
        folder = tempfile.mkdtemp(prefix="millrace-huge-")
        done = subprocess.run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", folder], capture_output=True, text=True)
        if done.returncode != 0:
            os.rmdir(folder)
            raise Skip("cannot mount a hugetlbfs: " + done.stderr.strip())
        self.mount = folder

    def release(self):
        if self.mount is not None:
            subprocess.run(["umount", self.mount], capture_output=True)
            os.rmdir(self.mount)
            self.mount = None
        if self.before is not None and int(read_text(HUGE + "nr_hugepages") or 0) != self.before:
            with open(HUGE + "nr_hugepages", "w") as f:
                f.write(str(self.before))
        self.before = None
        if self.overcommit is not None:
            with open(HUGE + "nr_overcommit_hugepages", "w") as f:
                f.write(self.overcommit)
            self.overcommit = None
        if self in Hugepages.all:
            Hugepages.all.remove(self)


@atexit.register
def end_all():
    for worker in list(Worker.all):
        worker.end()
    for node in list(Node.all):
        node.end()
    for huge in list(Hugepages.all):
        huge.release()


def programs_or_exit():
    """77, a skip, where the build has no daemon (tests/run builds it first)."""
    for path in (MILLRACED, CONTROL, MILLRACE, WORKER):
        if not os.path.exists(path):
            print("%s is not built" % os.path.relpath(path, ROOT))
            sys.exit(77)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
