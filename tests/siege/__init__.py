"""The siege: the product is attacked through its public commands and files, again and again, by seed.

``python -m tests.siege`` attacks in full, ``--short`` as the tests do. An *assault* is a file of this folder; it makes
*trials*, each with a folder and random numbers of its own. A trial ends refused (in lines for people), unharmed,
otherwise (damage that looks like data was read as data), skipped, or with a
:class:`~tests.siege.verdict.BreachError`, which makes the siege fail.
"""
