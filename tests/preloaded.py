"""Imported once by the server that forks the processes of rounds, and hidden from their garbage collectors."""

import gc

import trainer.rounds.round
import trainer.training.trl_trainers  # noqa: F401

gc.freeze()
