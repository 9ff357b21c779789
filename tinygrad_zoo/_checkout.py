"""Running this module raises where git wrote the links `kernels` and `algorithms` as text files.

Without `core.symlinks` (the default on Windows) such a checkout would build a wheel that silently lacks both packages,
so the package imports this module first and the build runs it.
"""

import os


def check(package: str) -> None:
    """Raises ImportError unless `package/kernels` and `package/algorithms` are directories."""
    for name in ("kernels", "algorithms"):
        path = os.path.join(package, name)
        if not os.path.isdir(path):
            raise ImportError(
                f"{path} should be a directory, or a symbolic link to ../{name}, and is "
                f"{'a file' if os.path.exists(path) else 'missing'}: this checkout was made without symbolic links. "
                "Run `git config core.symlinks true && git checkout -- tinygrad_zoo/kernels tinygrad_zoo/algorithms`."
            )


check(os.path.dirname(os.path.abspath(__file__)))
