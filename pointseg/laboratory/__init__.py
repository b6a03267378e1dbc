"""The laboratory behind ``python -m pointseg.longtail``: ways of handling the long tail on equal terms.

``methods`` says what is compared, ``data`` makes the rooms, ``plan`` lists the runs, ``scheduler`` gives each to a
process of its own (``child``), and ``table`` says what came of it.
"""
