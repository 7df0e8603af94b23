#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Man pages and shell completion from what the programs say of themselves by --help, so that they cannot differ.

usage: pages.py MILLRACE MILLRACED MILLRACE_CONTROL VERSION OUTPUT...

Each OUTPUT is a file to write, known by its name: millrace-topic-create.1, millraced.8, millrace.bash, _millrace (zsh), millrace.fish. Status 1, naming them,
if the command line has commands that no page is asked for."""
import os
import re
import subprocess
import sys


class Command:
    """One level of the command line as its help describes it."""

    def __init__(self, program, words):
        done = subprocess.run([program] + words + ["--help"], capture_output=True, text=True, check=True)
        self.words = words
        self.text = done.stdout
        lines = done.stdout.rstrip("\n").split("\n")
        self.usage = lines[0].removeprefix("usage: ")
        self.children, self.options, self.rest = [], [], []
        section = "about"
        self.about = []
        for line in lines[2:]:
            option = re.match(r"  (?:(-\w), |    )(--[\w-]+)(?: (\S.*?))?(?:  +|$)(.*)$", line)
            child = re.match(r"  (\w[\w-]*) +(\S.*)$", line) if " COMMAND" in self.usage else None
            if option:
                section = "options"
                self.options.append((option.group(1), option.group(2), option.group(3), option.group(4)))
            elif section == "options" and re.match(r" {20,}\S", line):
                letter, name, argument, doc = self.options[-1]
                self.options[-1] = (letter, name, argument, doc + " " + line.strip())
            elif child:
                section = "children"
                self.children.append((child.group(1), child.group(2)))
            elif section == "about":
                self.about.append(line)
            elif not line.endswith("COMMAND --help' says more."):
                self.rest.append(line)

    def summary(self):
        return " ".join(line.strip() for line in self.about).strip().split("\n")[0]


def walk(program, words=()):
    command = Command(program, list(words))
    yield command
    for name, _ in command.children:
        yield from walk(program, list(words) + [name])


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def page(name, section, command, version):
    out = [".\\\" made from '%s --help'" % name.replace("-", " "),
           '.TH %s %d "" "Millrace %s" "Millrace"' % (name.upper().replace("-", "\\-"), section, version),
           ".SH NAME", "%s \\- %s" % (roff(name), roff(command.summary() or name)), ".SH SYNOPSIS", ".B " + roff(command.usage)]
    if command.children:
        out.append(".SH COMMANDS")
        for child, doc in command.children:
            out += [".TP", ".BR %s (1)" % roff("-".join(["millrace"] + command.words + [child])), roff(doc)]
    if command.options:
        out.append(".SH OPTIONS")
        for letter, option, argument, doc in command.options:
            out += [".TP", ".B " + roff((letter + ", " if letter else "") + option + (" " + argument if argument else "")), roff(doc)]
    body = "\n".join(command.rest).strip("\n")
    if body:
        out += [".SH DESCRIPTION", ".nf"] + [roff(line) for line in body.split("\n")] + [".fi"]
    if name == "millrace":
        out += [".SH EXIT STATUS", "0 done; 1 failed, with one line that says what, why and what to do; 2 usage; 130 after Ctrl\\-C.",
                ".SH ENVIRONMENT", ".TP", ".B MILLRACE_SOCKET", "the socket of the local node, when \\-\\-socket is not given.",
                ".TP", ".B MILLRACE_IDLE", "what programs do that wait: adaptive, busy or sleep."]
    out += [".SH SEE ALSO", ".BR millrace (1), .BR millraced (8), .BR millrace\\-control (8)".replace(", .BR", ",\n.BR")]
    return "\n".join(out) + "\n"




def bash(commands):
    cases = []
    for command in commands:
        words = [child for child, _ in command.children] + [option for _, option, _, _ in command.options]
        cases.append('    "%s") words="%s" ;;' % (" ".join(command.words), " ".join(words)))
    files = "--config|--hdr) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n    --data) COMPREPLY=($(compgen -d -- \"$current\")); return ;;"
    return """# bash completion of millrace; made from its --help
_millrace() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} path= words= i
    case $previous in
    %s
    --socket) COMPREPLY=($(compgen -f -- "$current")); return ;;
    esac
    for ((i = 1; i < COMP_CWORD && i < 3; i++)); do
        case ${COMP_WORDS[i]} in
        -*) break ;;
        *) path="${path:+$path }${COMP_WORDS[i]}" ;;
        esac
    done
    case $path in
    "log verify"* | "log dump"* | "log export"* | "log repair"* | "produce "*)
        [[ $current == -* ]] || { COMPREPLY=($(compgen -f -- "$current")); return; } ;;
    esac
    while :; do
        case $path in
%s
        *) if [[ $path == *" "* ]]; then path=${path%% *}; continue; fi ;;
        esac
        break
    done
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _millrace millrace
""" % (files, "\n".join("    " + case for case in cases))


def zsh():
    return "#compdef millrace\n# made with that of bash, which zsh can use\nautoload -U +X bashcompinit && bashcompinit\n"


def fish(commands):
    out = ["# fish completion of millrace; made from its --help", "complete -c millrace -f"]

    def quoted(text):
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    for command in commands:
        words = command.words
        if words:
            condition = " && ".join("__fish_seen_subcommand_from " + word for word in words)
        else:
            condition = "__fish_use_subcommand"
        names = " ".join(child for child, _ in command.children)
        for child, doc in command.children:
            only = condition if not words else condition + " && not __fish_seen_subcommand_from " + names
            out.append("complete -c millrace -n %s -a %s -d %s" % (quoted(only), child, quoted(doc)))
        if words:
            for letter, option, argument, doc in command.options:
                out.append("complete -c millrace -n %s -l %s%s%s -d %s" % (quoted(condition), option[2:], " -s " + letter[1] if letter else "",
                                                                        " -r" if argument else "", quoted(doc)))
    return "\n".join(out) + "\n"


def main():
    millrace, millraced, control, version = sys.argv[1:5]
    outputs = {os.path.basename(path): path for path in sys.argv[5:]}
    commands = list(walk(millrace))
    bash_text = bash(commands)
    made = {"millraced.8": page("millraced", 8, Command(millraced, []), version),
            "millrace-control.8": page("millrace-control", 8, Command(control, []), version),
            "millrace.bash": bash_text, "_millrace": zsh() + bash_text, "millrace.fish": fish(commands)}
    for command in commands:
        name = "-".join(["millrace"] + command.words)
        made[name + ".1"] = page(name, 1, command, version)
    properties = subprocess.run([millrace, "config", "--all"], capture_output=True, text=True, check=True).stdout
    lines = ["#" + line if re.match(r"[a-z]", line) else line for line in properties.split("\n") if line != "#   from: default"]
    made["millrace.properties"] = "# What a Millrace node is started with; each key is shown with its default.\n\n" + "\n".join(lines)
    if set(made) != set(outputs):
        print("pages.py: not asked for: %s; unknown: %s (control/install/meson.build lists them)" % (sorted(set(made) - set(outputs)),
                                                                                                       sorted(set(outputs) - set(made))), file=sys.stderr)
        return 1
    for name, text in made.items():
        with open(outputs[name], "w") as f:
            f.write(text)
    return 0


sys.exit(main())
