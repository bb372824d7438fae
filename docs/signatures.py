"""Lets mkdocstrings show a signature, `Name()`, of classes whose base is not here."""

import griffe


class Signatures(griffe.Extension):
    """Adds an empty `__init__` where a class has none, and inherits none of ours.

    Those of dataclasses are made by griffe, maybe later.
    """

    def on_package(self, *, pkg, **kwargs):
        for cls in classes(pkg):
            made = any("dataclass" in str(item.value) for item in cls.decorators)
            if not made and "__init__" not in cls.all_members:
                own = griffe.Parameter(
                    "self", kind=griffe.ParameterKind.positional_or_keyword
                )
                init = griffe.Function("__init__", parameters=griffe.Parameters(own))
                cls.set_member("__init__", init)


def classes(module):
    """All classes of a package, without following what it imports."""
    for member in module.members.values():
        if member.is_alias:
            continue
        if member.is_class:
            yield member
        elif member.is_module:
            yield from classes(member)
