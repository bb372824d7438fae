"""Lets mkdocstrings show the signature of each class, and values for our own names."""

import griffe


class Signatures(griffe.Extension):
    """Adds an empty `__init__` where a class has none, and inherits none of ours.

    Those of dataclasses are made by griffe, maybe later. Defaults and types that have a
    name in the source, which nobody finds in the reference, are shown as what they are.
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
        for function in functions(pkg):
            for parameter in function.parameters:
                parameter.default = spelled_out(parameter.default, pkg)
                if str(parameter.annotation).startswith("_"):
                    parameter.annotation = spelled_out(parameter.annotation, pkg)


def spelled_out(expression, pkg):
    """The value of a name of this package; anything else as it is."""
    if not isinstance(expression, griffe.ExprName):
        return expression
    try:
        found = pkg.modules_collection[expression.canonical_path]
    except KeyError:
        return expression
    return found.value if found.is_attribute else expression


def members_of(module):
    """The members of a module or class, without following what it imports."""
    return [member for member in module.members.values() if not member.is_alias]


def classes(module):
    """All classes of a package."""
    for member in members_of(module):
        if member.is_class:
            yield member
        elif member.is_module:
            yield from classes(member)


def functions(module):
    """All functions of a package, and all methods of its classes."""
    for member in members_of(module):
        if member.is_function:
            yield member
        elif member.is_class or member.is_module:
            yield from functions(member)
