"""Why a phase ends before its last step."""

from __future__ import annotations


class TrainingStopped(Exception):
    """Training cannot go on; the message says why and what to change."""


class OutOfMemory(TrainingStopped):
    """Memory ran out; the message says where, and how to use less."""


class Interrupted(Exception):
    """The run was asked to stop; its completed steps are in a checkpoint."""


class RankFailed(Exception):
    """Another rank cannot go on; the message has its number and its reason."""
