"""The queues of a catalog: Kueue's objects that say who may have what, made and kept from it.

``plan`` says what there should be, ``changes`` what that differs in from what there is, ``sync``
makes it so. The first two are pure.
"""
