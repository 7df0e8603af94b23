# SPDX-License-Identifier: Apache-2.0
"""The table of `bench/run scale`: many partitions, many sessions, slow and late readers, a control process that dies. What is compared is run in
pairs, by turns, on one node or on two that stand side by side; a line shows the median of the pairs' ratios, and the least and the greatest."""
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time

import node as nodes
from quick import Line, Table, finish

FEED = os.path.join(nodes.BUILD, "bench/scale/feed")
STORM = os.path.join(nodes.BUILD, "tests/crash/storm")
LINES = ("partitions", "sessions", "slow", "catch_up", "control", "hostile")
NOBODY = 65534
MIB = 1 << 20
SPACE_MIN = 24 << 30


def say(text):
    sys.stderr.write("scale: %s\n" % text)


def start(node, role, topic, *arguments):
    command = [FEED, role, "--socket", node.socket, "--topic", topic] + [str(a) for a in arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=os.setsid)


def end(process, stop=False, seconds=300):
    """@return what it measured"""
    if stop:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RuntimeError("feed did not end within %d s" % seconds)
    if process.returncode != 0:
        raise RuntimeError("feed: " + err.strip()[-300:])
    return json.loads(out.splitlines()[-1])


def create(node, topic, partitions=1):
    subprocess.run([nodes.MILLRACE, "topic", "create", topic, "--partitions", str(partitions), "--config", "millrace.durability=leader", "--socket",
                    node.socket], check=True, capture_output=True)


def until_ready(process):
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError("feed: " + process.communicate()[1].strip()[-300:])


def steady(node, topic, **options):
    arguments = []
    for name, value in options.items():
        arguments += ["--" + name, value]
    return end(start(node, "steady", topic, *arguments))


def spread(values, form="%.2f"):
    return (form + " (" + form + " .. " + form + ")") % (statistics.median(values), min(values), max(values))


def paired(table, name, without, with_it, bar, holds, unit):
    ratios = [b / a for a, b in zip(without, with_it)]
    table.lines.append(Line(name, spread(with_it, "%.1f") + " " + unit, "without: " + spread(without, "%.1f"), spread(ratios), bar,
                            "yes" if holds(statistics.median(ratios)) else "no"))


def memory_mib(node):
    """Files in memory, anonymous memory and page tables of both processes, MiB."""
    kib = 0
    for process in (node.process, node.control):
        with open("/proc/%d/status" % process.pid) as status:
            for line in status:
                if line.split(":")[0] in ("RssAnon", "VmPTE"):
                    kib += int(line.split()[1])
    for folder in nodes.memory_folders(node.data):
        for name in os.listdir(folder):
            kib += os.stat(os.path.join(folder, name)).st_blocks // 2
    return kib / 1024


def many_partitions(table, count):
    if shutil.disk_usage(nodes.tempfile.gettempdir()).free < SPACE_MIN + count * 2 * MIB:
        raise RuntimeError("partitions: no disk space for %d x 1 MiB in %s: set TMPDIR" % (count, nodes.tempfile.gettempdir()))
    node, alone = nodes.Node([]), nodes.Node([])
    try:
        create(node, "first")
        before = time.monotonic()
        create(node, "many", count)
        took = time.monotonic() - before
        table.lines.append(Line("create %d partitions" % count, "%.1f s" % took, bar="< 10 s", holds="yes" if took < 10 else "no"))
        say("1 MiB into each of %d partitions" % count)
        filled = end(start(node, "fill", "many", "--partitions", count, "--size", 8000, "--count", MIB), seconds=600)
        time.sleep(10)
        held = memory_mib(node)
        files = len(os.listdir("/proc/%d/fd" % node.process.pid))
        table.lines.append(Line("memory, 1 MiB each, then 10 s idle", "%.0f MiB" % held, bar="<= 1024 MiB", holds="yes" if held <= 1024 else "no"))
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        table.lines.append(Line("its descriptors", "%d" % files, "open files: %d" % limit, bar="bounded: <= half", holds="yes" if files <= limit / 2 else "no"))
        results = {node: [], alone: []}
        for run in range(table.options["runs"]):
            for one in (alone, node) if run % 2 == 0 else (node, alone):
                results[one].append(steady(one, "hot-%d" % run, size=64, seconds=3)["records_per_s"] / 1e6)
        paired(table, "one hot partition among them", results[alone], results[node], "within 10 %", lambda r: r >= 0.9, "M/s")
        for how, sign in (("killed", signal.SIGKILL), ("clean stop", signal.SIGTERM)):
            say("restart, " + how)
            before = time.monotonic()
            node.process.send_signal(sign)
            node.process.wait(300)
            stopped = time.monotonic()
            node.start_again()
            ready = time.monotonic()
            table.lines.append(Line("start after %s" % how, "%.1f s (the stop: %.1f s)" % (ready - stopped, stopped - before), bar="< 5 s",
                                    holds="yes" if ready - stopped < 5 else "no"))
        read = end(start(node, "replay", "many", "--partitions", count, "--size", 8000, "--count", filled["acked"], "--from-begin", "--whole"),
                   seconds=600)
        table.lines.append(Line("all of it read back, every record checked", "%d records, %.0f MB/s" % (read["received"], read["bytes_per_s"] / 1e6),
                                bar="%d records" % filled["acked"], holds="yes" if read["received"] == filled["acked"] else "no"))
    finally:
        node.release()
        alone.release()


def idle_sessions(table):
    node = nodes.Node([])
    try:
        create(node, "busy")
        without, with_them = [], []
        for run in range(table.options["runs"]):
            say("1,000 idle sessions, pair %d" % (run + 1))
            order = (False, True) if run % 2 == 0 else (True, False)
            for crowded in order:
                crowd = start(node, "crowd", "busy", "--readers", 1000) if crowded else None
                if crowd:
                    until_ready(crowd)
                    time.sleep(2)  # they have become cold
                got = steady(node, "others-%d" % run, size=64, seconds=3)["records_per_s"] / 1e6
                (with_them if crowded else without).append(got)
                if crowd:
                    end(crowd, stop=True)
        paired(table, "throughput beside 1,000 idle sessions with subscriptions", without, with_them, "moves < 5 %", lambda r: r >= 0.95, "M/s")
    finally:
        node.release()


def slow_reader(table):
    node = nodes.Node(["millrace.memory.bytes=%d" % (192 * MIB), "log.retention.bytes=%d" % (2 << 30)])
    seconds, rate, size = 8, 4000, 4096
    try:
        p99 = {True: [], False: []}
        caught, most = [], 0
        for run in range(table.options["runs"]):
            for stopped in (False, True) if run % 2 == 0 else (True, False):
                say("one reader of 32 %s, pair %d" % ("stopped" if stopped else "runs", run + 1))
                topic = "slow-%d-%s" % (run, stopped)
                create(node, topic)
                reader = start(node, "replay", topic, "--count", seconds * rate, "--whole")
                until_ready(reader)
                time.sleep(0.3)
                if stopped:
                    reader.send_signal(signal.SIGSTOP)
                got = steady(node, topic, size=size, rate=rate, seconds=seconds, readers=31)
                most = max(most, memory_mib(node))
                p99[stopped].append(got["read"]["p99_us"])
                if stopped:
                    reader.send_signal(signal.SIGCONT)
                result = end(reader)
                if stopped:
                    caught.append(result["received"] == got["sent"])
        paired(table, "slow reader: p99 of the other 31, 4,000/s of 4 KiB", p99[False], p99[True], "moves < 10 %", lambda r: r < 1.1, "us")
        table.lines.append(Line("it resumes gaplessly, from disk", "%d of %d times" % (sum(caught), len(caught)), bar="each time",
                                holds="yes" if all(caught) else "no"))
        table.lines.append(Line("memory of the node meanwhile, at most", "%.0f MiB" % most, "millrace.memory.bytes: 192 MiB", bar="bounded",
                                holds="yes" if most < 192 + 128 else "no"))
    finally:
        node.release()


def catch_up(table):
    node = nodes.Node(["log.retention.bytes=%d" % (8 << 30)])
    count, size = (4 << 30) // 8192, 8192
    try:
        say("4 GiB to catch up with")
        end(start(node, "fill", "tail", "--size", size, "--count", 4 << 30), seconds=600)
        results = {"alone": [], "beside": [], "nice": []}
        speeds = []
        for run in range(table.options["runs"]):
            for how in ("alone", "beside", "nice") if run % 2 == 0 else ("nice", "beside", "alone"):
                say("replay of 4 GiB: %s, run %d" % (how, run + 1))
                reader = None
                if how != "alone":
                    reader = start(node, "replay", "tail", "--count", count, "--from-begin", "--whole")
                    until_ready(reader)
                    if how == "nice":
                        os.setpriority(os.PRIO_PROCESS, reader.pid, 19)
                results[how].append(steady(node, "tail", size=256, rate=20000, seconds=8, readers=1)["ack"]["p99_us"])
                if reader:
                    done = end(reader)
                    speeds.append(done["bytes_per_s"] / 1e6)
                    if done["received"] != count:
                        raise RuntimeError("the replay got %d of %d records" % (done["received"], count))
        cores = os.cpu_count()
        paired(table, "catch-up: produce p99, 20,000/s, beside a replay; %d cores for all" % cores, results["alone"], results["beside"], "<= 1.5",
               lambda r: r <= 1.5, "us")
        paired(table, "likewise, the replay with what the others leave of them (nice 19)", results["alone"], results["nice"], "<= 1.5",
               lambda r: r <= 1.5, "us")
        table.lines.append(Line("the replay meanwhile", spread(speeds, "%.0f") + " MB/s", bar="reported"))
    finally:
        node.release()


def control_dies(table):
    """The cores are few, and a process that is started again and again takes its share: so in the runs without, the control process of another node,
    which serves nobody here, is killed as often."""
    node, other = nodes.Node([]), nodes.Node([])
    seconds, kills = 10, 50
    try:
        p99 = {node: [], other: []}
        for run in range(table.options["runs"]):
            for dying in (other, node) if run % 2 == 0 else (node, other):
                say("%s control is killed %d times, pair %d" % ("its" if dying is node else "another node's", kills, run + 1))
                load = start(node, "steady", "control-%d-%s" % (run, dying is node), "--rate", 20000, "--seconds", seconds, "--size", 256)
                for _ in range(kills):
                    time.sleep(seconds / (kills + 5))
                    dying.control.kill()
                    dying.control.wait()
                    dying.start_control()
                p99[dying].append(end(load)["ack"]["p99_us"])
        paired(table, "produce p99 while its millrace-control is killed %d times, beside another node's" % kills, p99[other], p99[node],
               "unmoved (<= 1.1)", lambda r: r <= 1.1, "us")
    finally:
        node.release()
        other.release()


def become_nobody():
    os.setsid()
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def hostile_clients(table):
    """Of another user. The storm keeps a core busy besides: so there are runs beside a program that only does that, too."""
    if os.geteuid() != 0 or not os.access(STORM, os.X_OK):
        raise RuntimeError("hostile: needs root, to be somebody else, and %s" % STORM)
    node = nodes.Node(["millrace.socket.mode=0666", "millrace.quota.attach.rate=1000000"])
    os.chmod(node.folder, 0o711)
    program = shutil.copy(STORM, node.folder)  # where nobody may go
    os.chmod(program, 0o755)
    try:
        create(node, "t")
        create(node, "wide", 40)
        p99, seconds = {"alone": [], "busy": [], "storm": []}, 8
        for run in range(table.options["runs"]):
            for how in ("alone", "busy", "storm") if run % 2 == 0 else ("storm", "busy", "alone"):
                say("hostile clients: %s, run %d" % (how, run + 1))
                other = None
                if how == "busy":
                    other = subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"], preexec_fn=become_nobody)
                elif how == "storm":
                    other = subprocess.Popen([program, node.socket, str(seconds + 1), str(run + 1)], preexec_fn=become_nobody, stdout=subprocess.PIPE)
                    time.sleep(2)  # each mutation once, the slow ones among them
                p99[how].append(steady(node, "neighbour-%s-%d" % (how, run), rate=2000, seconds=seconds - 2, size=256)["read"]["p99_us"])
                if how == "busy":
                    other.kill()
                if other is not None:
                    other.communicate(timeout=120)
        paired(table, "hostile clients: a neighbour's p99, 2,000/s, beside the storm", p99["alone"], p99["storm"], "< 2", lambda r: r < 2, "us")
        paired(table, "likewise, compared with beside a program that only computes", p99["busy"], p99["storm"], "< 2", lambda r: r < 2, "us")
        say("the storm for 60 s")
        done = subprocess.run([program, node.socket, "60", "4711"], preexec_fn=become_nobody, capture_output=True, text=True, timeout=400)
        if done.returncode != 0:
            raise RuntimeError("storm: " + done.stderr[-300:])
        found = json.loads(done.stdout.splitlines()[-1])
        wrong = [name for name, (times, meant) in found["mutations"].items() if times == 0 or times != meant]
        table.lines.append(Line("the storm for 60 s: sessions ended by the daemon", "%d, by %d mutations" % (found["hung_up"], len(found["mutations"])),
                                bar=">= 10,000, by >= 20", holds="yes" if found["hung_up"] >= 10000 and not wrong else "no %s" % wrong))
        table.lines.append(Line("the daemon afterwards", "alive" if node.process.poll() is None else "DEAD", bar="alive",
                                holds="yes" if node.process.poll() is None else "no"))
        for name, (times, meant) in sorted(found["mutations"].items()):
            sys.stderr.write("  %-50s %6d, as it must %6d\n" % (name, times, meant))
    finally:
        node.release()


def main(options):
    wanted = options["only"] or LINES
    for name in wanted:
        if name not in LINES:
            sys.stderr.write("bench/run: --only %s: it must be of %s\n" % (name, " ".join(LINES)))
            return 2
    if not os.access(FEED, os.X_OK):
        sys.stderr.write("bench/run: no %s: run 'meson setup build && ninja -C build', or set MR_BUILD\n" % FEED)
        return 1
    table = Table(options)
    work = {"partitions": lambda: many_partitions(table, 10000 if options["full"] else 2000), "sessions": lambda: idle_sessions(table),
            "slow": lambda: slow_reader(table), "catch_up": lambda: catch_up(table), "control": lambda: control_dies(table),
            "hostile": lambda: hostile_clients(table)}
    for name in LINES:
        if name not in wanted:
            continue
        try:
            work[name]()
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            table.failed.append("%s: %s" % (name, error))
    return finish(table)
