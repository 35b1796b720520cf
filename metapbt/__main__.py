"""``python -m metapbt``: the ``metapbt`` command, by the Python that is asked."""

from metapbt.cli import entry

if __name__ == "__main__":
    entry()
