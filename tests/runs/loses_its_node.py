"""A learner for tests on Ray; found by workers under this module's name."""

import os
import signal
import time

from stand_in import StandInLearner


class LosesItsNode(StandInLearner):
    """Takes the node that it trains on along, once: a worker's parent is its raylet."""

    def train(self, interval, start, teacher=None):
        if interval.ref.generation == 1:
            try:
                os.close(os.open(os.environ["LOST_NODE"], os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)  # until the worker ends, too
        return super().train(interval, start, teacher)
