"""Problems with a known answer, each with the learner that solves it."""
