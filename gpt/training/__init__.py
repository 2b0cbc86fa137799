"""From data to a trained net: the step, the plan, the run and what is kept of it."""
