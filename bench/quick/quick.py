# SPDX-License-Identifier: Apache-2.0
"""The table of `bench/run quick`. One function a group of lines; each measures through `millrace bench --json`."""
import json
import os
import re
import subprocess
import sys
import time

import node as nodes

KEEP_BYTES = 4 << 30
HOT_BYTES = 3 << 30
RECORDS_MIN = 10_000_000


class Line:
    def __init__(self, name, value, limit="", ratio="", bar="", holds=""):
        self.columns = [name, value, limit, ratio, bar, holds]


def short(value, unit):
    if unit == "ns":
        return "%.0f ns" % value if value < 10000 else "%.1f us" % (value / 1e3) if value < 1e7 else "%.1f ms" % (value / 1e6)
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return "%.3g %s%s" % (value / size, suffix, "B/s" if unit == "bytes/s" else "/s")
    return "%.3g %s" % (value, unit)


class Table:
    def __init__(self, options):
        self.options = options
        self.lines = []
        self.failed = []

    def bench(self, node, workload, *arguments, prefix=()):
        command = list(prefix) + [nodes.MILLRACE, "bench", workload, "--json", "--socket", node.socket, "--data", node.folder] + list(arguments)
        sys.stderr.write("bench: %s %s\n" % (workload, " ".join(arguments)))
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                preexec_fn=nodes.before_all(self.options["priority"]))
        if result.returncode != 0:
            self.failed.append("%s: %s" % (workload, result.stderr.strip()[-600:]))
        measures = [json.loads(text) for text in result.stdout.splitlines() if text.startswith("{")]
        return {m["name"] + (", " + m["cores"]["mode"] if m["cores"] else ""): m for m in measures}, result.stderr

    def add(self, name, measure, bar_text, holds, use_ratio=True):
        """@param holds the ratio (or value) -> bool"""
        if measure is None:
            self.lines.append(Line(name, "failed", bar=bar_text, holds="no"))
            return
        unit = measure["unit"]
        if measure["value"] is None:
            self.lines.append(Line(name, "not had", bar=bar_text, holds="too noisy: the cores were never %s" % measure["cores"]["mode"]))
            return
        value = "%s (%s .. %s)" % (short(measure["value"], unit), short(measure["min"], unit), short(measure["max"], unit))
        limit = ratio = ""
        verdict = None
        if measure.get("ratio"):
            limit = "%s: %s (%s .. %s)" % (measure["limit_name"], short(measure["limit"], unit), short(measure["limit_min"], unit),
                                           short(measure["limit_max"], unit))
            ratio = "%.2f (%.2f .. %.2f)" % tuple(measure["ratio"][k] for k in ("median", "min", "max"))
            verdict = holds(measure["ratio"]["median"]) if use_ratio else holds(measure["value"])
            if measure["too_noisy"] and (use_ratio or measure["cores"]):
                verdict = "too noisy"
        else:
            verdict = holds(measure["value"])
        self.lines.append(Line(name, value, limit, ratio, bar_text, verdict if isinstance(verdict, str) else "yes" if verdict else "no"))

    def add_cores(self, name, found, measure, bar_text, holds, use_ratio=True):
        """A line for each mode of the cores that was had. Two cores are judged, near or far, if there are pairs enough; threads of one are not."""
        for mode in ("far", "near", "siblings"):
            one = found.get(measure + ", " + mode)
            if one is None and mode != "far":
                continue
            pairs = one["cores"]["pairs"] if one else 0
            judged = mode != "siblings" and (one is None or pairs >= self.options["runs"] or one["value"] is None)
            self.add("%s; %s, %d pairs" % (name, mode, pairs), one, bar_text, holds if judged else lambda r: "reported", use_ratio)

    def print(self, out):
        rows = [["line", "value", "limit", "ratio", "bar", "holds"], ["---"] * 6] + [line.columns for line in self.lines]
        for row in rows:
            out.write("| " + " | ".join(row) + " |\n")
        out.flush()


def run_memory(table, node, wanted):
    short_run = ["--runs", str(table.options["runs"]), "--cores", "far", "--pause-daemon", "--idle", "busy"]
    if "ping" in wanted:
        found, _ = table.bench(node, "ping", *short_run)
        table.add_cores("round trip 64 B, p50", found, "ping.round_trip.p50", "<= 2.0 (goal 1.5)", lambda r: r <= 2.0)
        table.add_cores("its cache lines, moved by bare loops, p50", found, "ping.bare_relay.p50", "", lambda r: "reported")
        table.add_cores("round trip 64 B, p99", found, "ping.round_trip.p99", "", lambda r: "reported")
    for name, batch, bar, goal in (("pub64", 64, 0.4, 0.5), ("pub1", 1, 0.35, 0.6)):
        if name in wanted:
            found, _ = table.bench(node, "pub", "--batch", str(batch), *short_run)
            table.add_cores("publish, %d at a time" % batch, found, "pub.records", ">= %.2f (goal %.1f)" % (bar, goal), lambda r, bar=bar: r >= bar)
    if "fan_in" in wanted:
        found, _ = table.bench(node, "pub", "--producers", "8", "--duration", "250ms", *short_run)
        table.add_cores("8 producers on one partition", found, "pub.fan_in", ">= 0.7", lambda r: r >= 0.7)
    if "pubsub" in wanted:
        found, _ = table.bench(node, "pubsub", *short_run)
        table.add_cores("publish and consume together", found, "pubsub.records", ">= 30 M/s", lambda v: v >= 30e6, use_ratio=False)
        table.add_cores("their cache lines, moved by bare loops", found, "pubsub.bare_relay", "", lambda r: "reported")
    if "sub" in wanted:
        found, _ = table.bench(node, "sub", *short_run)
        table.add_cores("consume in place, 64 at a time", found, "sub.records", ">= 0.6", lambda r: r >= 0.6)
    if "sustained" in wanted:
        runs, seconds = (str(table.options["runs"]), "30s") if table.options["full"] else ("1", "10s")
        for size in (64, 1024):  # ticks, which cores bound, and what others publish figures of
            found, _ = table.bench(node, "pubsub", "--sustained", "--keep", str(KEEP_BYTES), "--runs", runs, "--duration", seconds, "--size", str(size),
                                   "--pause-daemon")
            table.add("sustained %s, 4 GiB kept, %d B" % (seconds, size), found.get("pubsub.sustained"), ">= 0.8", lambda r: r >= 0.8)


def run_disk(table, node):
    found, _ = table.bench(node, "disk", "--runs", str(table.options["runs"]), "--duration", "1s", "--pause-daemon")
    table.add("disk: one record, p50", found.get("disk.ack.p50"), "<= 1.4", lambda r: r <= 1.4)
    table.add("disk: stream of 1 KiB", found.get("disk.stream"), ">= 0.7", lambda r: r >= 0.7)
    table.add("disk: 10,000/s over 1,000 partitions, p50", found.get("disk.partitions.ack.p50"), "<= 2", lambda r: r <= 2.0)


def strace_counts(text):
    """strace -c's table -> {call: count}"""
    counts = {}
    for line in text.splitlines():
        match = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
        if match and match.group(2) != "total":
            counts[match.group(2)] = counts.get(match.group(2), 0) + int(match.group(1))
    return counts


def run_syscalls(table, node):
    """What a run with many records calls beyond a run with hardly any: start, attach and limits are the same in both."""
    path = os.path.join(node.folder, "strace")
    calls, records = [], []
    daemon = None
    once = ["--runs", "1", "--idle", "busy", "--patience", "0"]
    table.bench(node, "pubsub", "--duration", "1ms", *once)  # or the first would find no extents to map
    for duration in ("1ms", "500ms"):
        if duration == "500ms":
            daemon = subprocess.Popen(["strace", "-c", "-f", "-o", path + ".daemon", "-p", str(node.process.pid)], stderr=subprocess.DEVNULL)
            time.sleep(0.5)
        found, _ = table.bench(node, "pubsub", "--duration", duration, *once, prefix=["strace", "-c", "-f", "-o", path])
        with open(path) as text:
            calls.append(strace_counts(text.read()))
        records.append(found.get("pubsub.records", {}).get("value", 0) * (0.5 if duration == "500ms" else 0.001))
    daemon.terminate()
    daemon.wait()
    extra = {name: count - calls[0].get(name, 0) for name, count in calls[1].items() if count - calls[0].get(name, 0) > 0
             and name not in ("nanosleep", "clock_nanosleep", "read", "openat", "close", "newfstatat", "fstat")}
    total = sum(extra.values())
    enough = records[1] >= RECORDS_MIN
    table.lines.append(Line("system calls, producer and consumer", "%d in %.0f M records (%s)" % (
        total, records[1] / 1e6, ", ".join("%s %d" % item for item in sorted(extra.items())) or "none"), bar="< 100 in 10 M",
        holds="too few records" if not enough else "yes" if total < 100 else "no"))
    with open(path + ".daemon") as text:
        counts = strace_counts(text.read())
    table.lines.append(Line("system calls, daemon (with the warm-up)", ", ".join(
        "%s %d" % item for item in sorted(counts.items(), key=lambda i: -i[1])[:6]) or "none", bar="reported"))


def run_idle(table):
    """Default settings: what an attached, idle node costs, and the first record after idling."""
    node = nodes.Node([], table.options["priority"])
    try:
        table.bench(node, "ping", "--runs", "1", "--duration", "10ms", "--idle", "adaptive", "--patience", "0")
        time.sleep(3)
        seconds, before = 10.0, node.cpu_seconds()
        time.sleep(seconds)
        share = (node.cpu_seconds() - before) / seconds * 100
        table.lines.append(Line("idle, default settings", "%.2f %% of a core" % share, bar="< 1 %", holds="yes" if share < 1 else "no"))
        pauses = 100 if table.options["full"] else 3
        found, _ = table.bench(node, "ping", "--runs", "1", "--pause", "10s", "--duration", "%ds" % (10 * pauses - 5), "--idle", "adaptive")
        table.add("first record after 10 s, p99 of %d" % pauses, found.get("ping.round_trip.p99"), "<= 150 us", lambda v: v <= 150e3, use_ratio=False)
    finally:
        node.release()


def parse(arguments, usage):
    options = {"table": None, "full": False, "runs": 5, "priority": False, "only": None}
    rest = list(arguments)
    if not rest or rest[0] in ("-h", "--help"):
        print(usage)
        return 0 if rest else 2
    options["table"] = rest.pop(0)
    if options["table"] not in ("quick", "scale"):
        sys.stderr.write("bench/run: there are quick and scale, not '%s'; see bench/run --help\n" % options["table"])
        return 2
    while rest:
        word = rest.pop(0)
        if word in ("--full", "--priority"):
            options[word[2:]] = True
        elif word == "--runs" and rest and rest[0].isdigit() and int(rest[0]) > 0:
            options["runs"] = int(rest.pop(0))
        elif word == "--only" and rest:
            options["only"] = rest.pop(0).split(",")
        elif word in ("-h", "--help"):
            print(usage)
            return 0
        else:
            sys.stderr.write("bench/run: what is '%s'? see bench/run --help\n" % word)
            return 2
    return options


def head():
    """The machine, and how far its cores are from each other now."""
    found = subprocess.run([nodes.MILLRACE, "bench", "limits", "--runs", "1", "--duration", "0", "--data", "/tmp"], capture_output=True, text=True)
    lines = found.stdout.splitlines() if found.stdout else ["?", "", "? ?"]
    return "%s; load %s; ping-pong %s ns\n" % (lines[0], " ".join("%.1f" % x for x in os.getloadavg()), " ".join(lines[2].split()[1:2]))


def main(options):
    for program in (nodes.MILLRACE, nodes.MILLRACED):
        if not os.access(program, os.X_OK):
            sys.stderr.write("bench/run: no %s: run 'meson setup build && ninja -C build', or set MR_BUILD\n" % program)
            return 1
    lines = ("ping", "pub64", "pub1", "fan_in", "pubsub", "sub", "sustained", "disk", "syscalls", "idle")
    wanted = options["only"] or lines
    for name in wanted:
        if name not in lines:
            sys.stderr.write("bench/run: --only %s: it must be of %s\n" % (name, " ".join(lines)))
            return 2
    table = Table(options)
    hugepages = nodes.Hugepages(HOT_BYTES // nodes.PAGE_BYTES + 128)
    node = None
    try:
        node = nodes.Node(["millrace.idle=busy", "millrace.reactors=1-1", "log.retention.bytes=%d" % KEEP_BYTES,
                           "millrace.memory.bytes=%d" % HOT_BYTES], options["priority"])
        run_memory(table, node, wanted)
        if "disk" in wanted:
            run_disk(table, node)
        if "syscalls" in wanted:
            run_syscalls(table, node)
        status = node.stop()
        wrong = node.verify() if status == 0 else "the node stopped with status %d: %s" % (status, node.said()[-600:])
        if wrong:
            table.failed.append("log verify: " + wrong)
        table.lines.append(Line("log verify afterwards", "clean" if not wrong else "NOT CLEAN", bar="clean", holds="no" if wrong else "yes"))
        node.release()
        node = None
        if "idle" in wanted:
            run_idle(table)
    except (RuntimeError, OSError) as error:
        table.failed.append(str(error))
    finally:
        if node is not None:
            node.release()
        hugepages.release()
    return finish(table)


def finish(table):
    print(head())
    table.print(sys.stdout)
    for text in table.failed:
        sys.stderr.write("FAILED %s\n" % text)
    return 1 if table.failed else 0
