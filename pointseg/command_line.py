"""The parser that every command shares: arguments in, and one line for a mistake in them."""

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

from pointseg.commands import called
from pointseg.errors import UsageError


class _Formatter(argparse.HelpFormatter):
    """Names the default of an option where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        hidden = action.default in (None, False, [], argparse.SUPPRESS) or action.required or not action.option_strings
        return text if hidden or "%(default)" in text else f"{text} (default: %(default)s)"


class CommandParser(argparse.ArgumentParser):
    """The parser of a command: its mistakes are one line, and it takes no abbreviated options.

    Args:
        name: of ``commands.COMMANDS``; the usage says how it was called. None: of a subcommand.
        may_be_empty: options whose value may be an empty text; of others that is a variable which is not set.
        options: of ``ArgumentParser``.
    """

    def __init__(self, name: str | None = None, may_be_empty: Collection[str] = (), **options: object) -> None:
        self._name = name
        self._may_be_empty = may_be_empty
        if name is not None:
            options["prog"] = f"pointseg {name}"
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", _Formatter)
        super().__init__(**options)  # type: ignore[arg-type]

    def format_help(self) -> str:
        """The help, in which the command is called as the user called it."""
        if self._name is not None:
            self.prog = called(self._name)
        return super().format_help()

    def add_overrides(self, help_text: str = "set a key of the config") -> None:
        """Let ``key.sub=value`` stand anywhere among the arguments; :meth:`parse_with_overrides` gathers them."""
        self.add_argument("overrides", nargs="*", metavar="key.sub=value", help=help_text)

    def parse_with_overrides(self, argv: Sequence[str]) -> argparse.Namespace:
        """The arguments, with all overrides in ``overrides``, in their order. Raises: UsageError."""
        arguments, others = self.parse_known_args(argv)
        unknown = [word for word in others if word.startswith("-") or not hasattr(arguments, "overrides")]
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        if others:
            arguments.overrides += others
        return arguments

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse, but no empty argument: it is a variable of the shell that is not set."""
        words = sys.argv[1:] if args is None else list(args)
        for before, word in zip(["", *words], words, strict=False):
            if not word or (word.startswith("--") and word.endswith("=")):
                option = before if not word else word[:-1]
                if option in self._may_be_empty:
                    continue
                self.error(f"{option}: has no value" if option.startswith("-") else "an argument is empty")
        for before, word in zip(["", *words], words, strict=False):
            value = word.partition("=")[2] if word.startswith("--") else word
            if value.startswith("~") and not os.path.lexists(value):  # a folder of that name would be made
                option = word.partition("=")[0] if word.startswith("--") else before
                where = f"{option} {value}" if option.startswith("--") else value
                self.error(f"{where}: ~ stands for the home folder in a shell alone, before a path; write it out")
        self._refuse_unknown_dashes(words)
        return super().parse_known_args(words, namespace)

    def _refuse_unknown_dashes(self, words: Sequence[str]) -> None:
        """Say how a value is given that begins with a dash, as a file may: argparse takes it for an option."""
        if self._subparsers is not None:  # the words are those of another parser
            return
        option, before = "", ""
        for word in words:
            if word == "--":  # nothing after it is an option
                return
            name, equals, _ = word.partition("=")
            action = self._option_string_actions.get(option)
            if name in self._option_string_actions:
                option = "" if equals else name
            elif self._looks_like_option(word) and action is not None and _takes(action, word, before == option):
                may_be_file = action.choices is None and action.type in (None, Path)
                as_file = f", or ./{word} if it is a file" if may_be_file else ""
                self.error(f"{option}: {word} is no option; write {option}={word} if it is its value{as_file}")
            elif self._looks_like_option(word) and not word.startswith("--"):
                self.error(f"{word}: is no option; write ./{word} if it is a file")
            before = word

    def _looks_like_option(self, word: str) -> bool:
        """As argparse sees it."""
        is_number = self._negative_number_matcher.match(word)
        return word.startswith("-") and word != "-" and " " not in word and not is_number

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise UsageError(f"{message}; see --help")


def _takes(action: argparse.Action, word: str, is_next: bool) -> bool:
    """Whether an option may be meant to have a word of dashes among its values, next to it or after others."""
    if action.nargs == "+":
        return is_next or not word.startswith("--")
    return is_next and action.nargs is None
