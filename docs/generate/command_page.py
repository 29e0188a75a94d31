"""The page of all commands, from the command line's own help."""

import markdown_text as md
import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from robustbench_aigi.cli.main import app

EXIT_CODES = [
    (0, "done"),
    (1, "the answer is no: a gate that fails, a `verify` or an `audit` that finds something"),
    (2, "the request cannot be met; one message on standard error says what to type next"),
    (3, "a gate that cannot be judged"),
]


def commands_by_panel() -> dict[str, dict[str, TyperCommand]]:
    """Return the commands of the real command line under the titles that its help has."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    found: dict[str, dict[str, TyperCommand]] = {}
    for name, command in group.commands.items():
        assert isinstance(command, TyperCommand)
        found.setdefault(str(command.rich_help_panel), {})[name] = command
    return found


def command_pages() -> dict[str, str]:
    """Return the page of all commands, by its path below ``docs/``."""
    parts = [
        "This page lists every command with its arguments and options, as `--help` prints them."
        " Results go to standard output, progress and messages to standard error.",
        "## Exit codes",
        md.table(["code", "meaning"], EXIT_CODES),
    ]
    for panel, commands in commands_by_panel().items():
        parts += [f"## {panel}"]
        for name, command in commands.items():
            parts += command_parts(name, command)
    return {"reference/commands.md": md.page("Commands", *parts)}


def command_parts(name: str, command: TyperCommand) -> list[str]:
    """Return the heading, the help and the options of one command.

    Args:
        name: of the command.
        command: the command.
    """
    text = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    arguments = [p for p in command.params if isinstance(p, TyperArgument)]
    options = [p for p in command.params if isinstance(p, TyperOption)]
    usage = " ".join(map(argument_name, arguments))
    parts = [f"### {name}", text, md.fenced("text", f"robustbench-aigi {name} [OPTIONS] {usage}")]
    given = [(f"`{argument_name(p)}`", required_text(p), p.help or "") for p in arguments]
    given += [(f"`{', '.join(p.opts)}`", required_text(p), p.help or "") for p in options]
    return [*parts, md.table(["argument or option", "default", "meaning"], given)]


def argument_name(argument: TyperArgument) -> str:
    """Return what stands for an argument in a command, such as ``DETECTOR...`` for several."""
    name = (argument.metavar or str(argument.name).upper()).removesuffix("...")
    return f"{name}..." if argument.nargs == -1 else name


def required_text(parameter: TyperArgument | TyperOption) -> str:
    """Return a parameter's default: ``required`` if it must be given, empty without one."""
    if parameter.required:
        return "required"
    if isinstance(parameter, TyperOption) and parameter.is_flag:
        return ""
    return "" if parameter.default is None else f"`{parameter.default}`"
