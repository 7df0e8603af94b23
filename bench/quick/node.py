# SPDX-License-Identifier: Apache-2.0
"""A private node: hugepages for it, a directory, a daemon, and everything given back at the end."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("MR_BUILD", os.path.join(ROOT, "build"))
MILLRACE = os.path.join(BUILD, "control/cli/millrace")
MILLRACED = os.path.join(BUILD, "dataplane/millraced")
CONTROL = os.path.join(BUILD, "control/daemon/millrace-control")
POOL = "/proc/sys/vm/nr_hugepages"
PAGE_BYTES = 2 << 20
READY = "millraced: ready: "


def pages(name):
    with open("/proc/meminfo") as info:
        for line in info:
            if line.startswith("HugePages_%s:" % name):
                return int(line.split()[1])
    return 0


class Hugepages:
    """So many free 2 MiB pages as long as this lives, if root; what was added goes back."""

    def __init__(self, want):
        self.added = 0
        missing = want - pages("Free")
        if missing > 0 and os.access(POOL, os.W_OK):
            before = pages("Total")
            self.write(before + missing)
            self.added = pages("Total") - before

    @staticmethod
    def write(count):
        with open(POOL, "w") as pool:
            pool.write(str(count))

    def release(self):
        if self.added > 0:
            self.write(max(0, pages("Total") - self.added))
            self.added = 0


def memory_folders(data):
    """Where a node keeps its files in memory: those that exist."""
    try:
        with open(os.path.join(data, "meta.properties")) as meta:
            found = re.search(r"^(?:directory|log\.dir|node)?\.?id=([0-9a-f-]{32,36})$", meta.read(), re.M)
    except OSError:
        return []
    folders = [os.path.join(parent, "millrace-" + found.group(1).replace("-", "")) for parent in ("/dev/hugepages", "/dev/shm")] if found else []
    return [folder for folder in folders if os.path.isdir(folder)]


def before_all(priority):
    """In the child: its own session, so that Ctrl-C reaches only us; with --priority its group goes before others. Not by
    more: the kernel's workers that end durable writes need their share, or what the disk bounds is measured too low."""
    def prepare():
        os.setsid()
        if priority:
            os.setpriority(os.PRIO_PROCESS, 0, -10)
            try:
                with open("/proc/self/autogroup", "w") as group:
                    group.write("-10")
            except OSError:
                pass
    return prepare


class Node:
    def __init__(self, sets, priority=False, parent=None):
        self.folder = tempfile.mkdtemp(prefix="millrace-bench.", dir=parent)
        self.socket = os.path.join(self.folder, "node.sock")
        self.data = os.path.join(self.folder, "data")
        self.log = open(os.path.join(self.folder, "log"), "w+")
        arguments = ["--data", self.data, "--set", "millrace.socket=" + self.socket]
        for one in sets:
            arguments += ["--set", one]
        self.arguments, self.priority = arguments, priority
        self.start_data()
        self.start_control()
        self.await_ready(20)

    def start_data(self):
        self.starts = self.said().count(READY)
        self.process = subprocess.Popen([MILLRACED] + self.arguments, stdout=self.log, stderr=self.log, preexec_fn=before_all(self.priority))

    def start_control(self):
        self.control = subprocess.Popen([CONTROL] + self.arguments, stdout=self.log, stderr=self.log, preexec_fn=before_all(self.priority))

    def start_again(self):
        """The data plane, which has ended; returns when it takes sessions."""
        self.start_data()
        self.await_ready(120)

    def await_ready(self, seconds):
        deadline = time.time() + seconds
        while self.said().count(READY) == self.starts:
            if self.process.poll() is not None or time.time() > deadline:
                text = self.said()
                self.stop()
                raise RuntimeError("the node did not start: " + text.strip()[-600:])
            time.sleep(0.02)

    def said(self):
        self.log.flush()
        with open(self.log.name) as log:
            return log.read()

    def cpu_seconds(self):
        """Of both its processes."""
        ticks = 0
        for pid in (self.process.pid, self.control.pid):
            with open("/proc/%d/stat" % pid) as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """A clean stop. @return its exit status"""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.control.kill()
        self.control.wait()
        return self.process.returncode

    def verify(self):
        """@return what 'millrace log verify' says is wrong, '' when clean"""
        partitions = [os.path.join(self.data, name) for name in sorted(os.listdir(self.data)) if "-" in name
                      and os.path.isdir(os.path.join(self.data, name)) and any(f.endswith(".log") for f in os.listdir(os.path.join(self.data, name)))]
        wrong = ""
        for first in range(0, len(partitions), 60):
            result = subprocess.run([MILLRACE, "log", "verify"] + partitions[first:first + 60], capture_output=True, text=True)
            if result.returncode != 0:
                wrong += result.stdout[-2000:] + result.stderr[-2000:]
        return wrong

    def forget_memory(self):
        """A daemon that had to be killed leaves its memory for the next one, which will not come."""
        for folder in memory_folders(self.data):
            shutil.rmtree(folder, ignore_errors=True)

    def release(self):
        if self.stop() != 0:
            self.forget_memory()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
