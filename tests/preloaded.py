"""What the server that forks the processes of rounds has imported, out of their collectors' sight."""

import gc

import trainer.rounds.pipeline
import trainer.training.trl_trainers  # noqa: F401

gc.freeze()
