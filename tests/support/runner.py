# SPDX-License-Identifier: Apache-2.0
"""Builds and runs the suites for tests/run, counts what each test said, and judges skips.

Two kinds of tests: those that meson knows (suites unit, property, fuzz), and executables (tests/lint/run, tests/crash/*, tests/interop/*).
A test may report several results, as cmocka's own lines or as lines "ok NAME", "FAIL NAME: why", "SKIP NAME: why";
one that reports none counts as one by its status: 0 passed, 77 skipped, anything else failed.
"""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITES = ["lint", "unit", "property", "sim", "crash", "interop", "fuzz"]
PLAIN_ONLY = ["lint", "interop"]   # Python cannot load a library that wants a sanitizer's run time
MESON_SUITES = ["unit", "property", "sim", "fuzz"]
SCRIPT_SECONDS = {"quick": 120, "normal": 600, "full": 7200}
FUZZ_SECONDS = {"quick": 0, "normal": 10, "full": 600}
SANITIZERS = ["address", "undefined", "thread"]


class Results:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def add(self, outcome, name, why=""):
        if outcome == "pass":
            self.passed += 1
        elif outcome == "skip":
            self.skipped.append((name, why))
        else:
            self.failed.append((name, why))

    def add_output(self, name, text, status):
        """Count the lines of one test program. `status` is its exit status, None when it ran out of time."""
        seen = bad = 0
        reasons = cmocka_reasons(text)
        for line in text.splitlines():
            found = re.match(r"\[ +(OK|FAILED|SKIPPED) +\] (\S+)$", line)   # cmocka prints the last two again in its summary
            if found:
                outcome = {"OK": "pass", "FAILED": "fail", "SKIPPED": "skip"}[found.group(1)]
                case = name + "/" + found.group(2)
                if outcome == "pass" or case not in [n for n, _ in self.failed + self.skipped]:
                    self.add(outcome, case, next(reasons, "said so") if outcome == "fail" else "said so")
                    seen += 1
                    bad += outcome == "fail"
                continue
            found = re.match(r"(ok|FAIL|SKIP) ([^:\s]+)(?:: ?(.*))?$", line)
            if found:
                outcome = {"ok": "pass", "FAIL": "fail", "SKIP": "skip"}[found.group(1)]
                self.add(outcome, name + "/" + found.group(2), found.group(3) or "")
                seen += 1
                bad += outcome == "fail"
        if status is None:
            self.add("fail", name, "ran out of time")
        elif status == 77 and seen == 0:
            lines = text.strip().splitlines()
            self.add("skip", name, lines[-1] if lines else "status 77")
        elif status not in (0, 77) and bad == 0:
            self.add("fail", name, "status %d" % status)
        elif status == 0 and seen == 0:
            self.add("pass", name)


def cmocka_reasons(text):
    """What cmocka writes of each failure on stderr, in the order of the failures; which test it was stands on stdout only."""
    pattern = r"(?:^ERROR: ([^\n]*)\n)?\[ +ERROR +\] --- (.*?)\[ +LINE +\] --- (?:\.\./)?(\S+:\d+)"
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        yield "%s: %s" % (found.group(3), " ".join((found.group(1) or found.group(2)).split()))


def say(text):
    print(text, flush=True)


def run(command, seconds, env=None):
    """Run in a process group of its own, and end all of it when the time is up. Returns (status or None, output)."""
    child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                             start_new_session=True)
    try:
        text, _ = child.communicate(timeout=seconds)
        return child.returncode, text
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        text, _ = child.communicate()
        return None, text
    except KeyboardInterrupt:
        os.killpg(child.pid, signal.SIGKILL)
        raise


def build(directory, compiler, options):
    """Configure once, then let ninja do what is left. Exits when it fails: without a build there is nothing to count."""
    begin = time.monotonic()
    env = dict(os.environ, CC=compiler, CXX={"gcc": "g++", "clang": "clang++"}[compiler])
    if not os.path.exists(os.path.join(ROOT, directory, "build.ninja")):
        status, text = run(["meson", "setup", directory, "-Dtests=enabled", "-Dchecks=true"] + options, 300, env)
        if status != 0:
            say(text[-4000:])
            sys.exit("0 passed, 1 failed, 0 skipped")
    status, text = run(["ninja", "-C", directory], 1800, env)
    if status != 0:
        say("\n".join(text.splitlines()[-40:]))
        say("the build in %s failed" % directory)
        say("0 passed, 1 failed, 0 skipped")
        sys.exit(1)
    say("built with %s in %s (%.0f s)" % (compiler, directory, time.monotonic() - begin))


def run_meson_suite(suite, directory, level, slow, results):
    log = os.path.join(ROOT, directory, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.unlink(log)
    env = dict(os.environ, MR_TEST_LEVEL=level)
    factor = {"quick": 2, "normal": 4, "full": 100}[level] * (4 if slow else 1)
    run(["meson", "test", "-C", directory, "--no-rebuild", "--suite", suite, "-t", str(factor)], SCRIPT_SECONDS["full"], env)
    if not os.path.exists(log):
        return
    for line in open(log, errors="replace"):
        test = json.loads(line)
        text = test.get("stdout", "") + test.get("stderr", "")
        status = None if test["result"] == "TIMEOUT" else test.get("returncode", 1)
        before = len(results.failed)
        results.add_output(suite + "/" + test["name"].split(" / ")[-1].removeprefix(suite + "/"), text, status)
        if len(results.failed) > before:
            say("---- %s\n%s\n----" % (test["name"], text[-6000:]))


def run_programs(suite, programs, directory, level, slow, results):
    env = dict(os.environ, MR_TEST_LEVEL=level, MR_BUILD=os.path.join(ROOT, directory))
    for program in programs:
        name = suite if os.path.basename(program) == "run" else suite + "/" + os.path.splitext(os.path.basename(program))[0]
        status, text = run([program], SCRIPT_SECONDS[level] * (3 if slow else 1), env)
        before = len(results.failed)
        results.add_output(name, text, status)
        if len(results.failed) > before:
            say("---- %s\n%s\n----" % (name, text[-6000:]))


def executables(folder):
    path = os.path.join(ROOT, "tests", folder)
    found = sorted(os.path.join(path, name) for name in os.listdir(path)) if os.path.isdir(path) else []
    return [p for p in found if os.path.isfile(p) and os.access(p, os.X_OK)]


def run_fuzzers(level, results):
    """libFuzzer for a few seconds on each parser, beginning from its corpus; what it finds stays in the build folder."""
    seconds = FUZZ_SECONDS[level]
    if seconds == 0:
        return
    build("build-fuzz", "clang", ["-Dfuzz=true", "-Db_sanitize=address,undefined", "-Db_lundef=false"])
    folder = os.path.join(ROOT, "build-fuzz", "tests", "fuzz")
    for name in sorted(os.listdir(folder)):
        program = os.path.join(folder, name)
        if not name.endswith("_fuzz") or not os.path.isfile(program):
            continue
        short = name[:-len("_fuzz")]
        found = os.path.join(folder, "found_" + short)
        os.makedirs(found, exist_ok=True)
        run([os.path.join(folder, short + "_corpus"), found], 60)   # its seeds
        command = [program, "-max_total_time=%d" % seconds, "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0",
                   "-artifact_prefix=" + found + "/crash-", found]
        if "MR_SEED" in os.environ:
            command.insert(1, "-seed=" + os.environ["MR_SEED"])
        status, text = run(command, seconds + 120)
        if status == 0:
            results.add("pass", "fuzz/%s %d s" % (short, seconds))
        else:
            say("---- fuzz %s\n%s\n----" % (short, text[-6000:]))
            results.add("fail", "fuzz/%s %d s" % (short, seconds), "a crashing input is in " + os.path.relpath(found, ROOT))


def listed_skips():
    patterns = []
    for line in open(os.path.join(ROOT, "tests", "skips")):
        line = line.split("#")[0].strip()
        if line:
            patterns.append(line)
    return patterns


def main():
    parser = argparse.ArgumentParser(prog="tests/run", add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--san", default="")
    parser.add_argument("suites", nargs="*", metavar="SUITE")
    options = parser.parse_args()
    if options.quick and options.full:
        parser.error("--quick and --full exclude each other")
    for suite in options.suites:
        if suite not in SUITES:
            parser.error("unknown suite '%s': one of %s" % (suite, " ".join(SUITES)))
    sanitizers = [s for s in options.san.split(",") if s]
    for sanitizer in sanitizers:
        if sanitizer not in SANITIZERS:
            parser.error("unknown sanitizer '%s': --san=address,undefined or --san=thread" % sanitizer)
    level = "quick" if options.quick else "full" if options.full else "normal"
    suites = options.suites or [s for s in SUITES if not (sanitizers and s in PLAIN_ONLY)]

    begin = time.monotonic()
    directory, compiler, extra = "build-test", "gcc", []
    if sanitizers:
        directory, compiler = "build-test-" + "-".join(sanitizers), "clang"
        extra = ["-Db_sanitize=" + ",".join(sanitizers), "-Db_lundef=false"]
        os.environ.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
        os.environ.setdefault("ASAN_OPTIONS", "abort_on_error=1:detect_leaks=1")
        os.environ.setdefault("TSAN_OPTIONS", "halt_on_error=1:second_deadlock_stack=1")
    build(directory, compiler, extra)

    results = Results()
    for suite in suites:
        start, before = time.monotonic(), (results.passed, len(results.failed), len(results.skipped))
        if suite in MESON_SUITES:
            run_meson_suite(suite, directory, level, bool(sanitizers), results)
        if suite == "fuzz" and not sanitizers:
            run_fuzzers(level, results)
        if suite in ("lint", "crash", "interop"):
            run_programs(suite, executables(suite), directory, level, bool(sanitizers), results)
        say("%-9s %4d passed, %d failed, %d skipped (%.0f s)" % (suite, results.passed - before[0], len(results.failed) - before[1],
                                                             len(results.skipped) - before[2], time.monotonic() - start))

    listed = listed_skips()
    for name, why in results.skipped:
        say("skipped %s: %s" % (name, why))
        if os.environ.get("CI") == "true" and name not in listed:
            results.failed.append((name, "skipped, and tests/skips does not list it"))
    for name, why in results.failed:
        say("FAILED %s%s" % (name, ": " + why if why else ""))
    if results.passed == 0 and not results.failed:
        results.failed.append(("nothing ran", ""))
        say("FAILED: nothing ran")
    say("%.0f s" % (time.monotonic() - begin))
    say("%d passed, %d failed, %d skipped" % (results.passed, len(results.failed), len(results.skipped)))
    return 1 if results.failed else 0


try:
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(130)
