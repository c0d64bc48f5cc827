"""The names that producers and consumers of messages share; importing them loads nothing."""

GPU_QUEUE = "gpu"
"""Analyses: one worker child per GPU takes them, one at a time."""

CLERK_QUEUE = "clerk"
"""Deliveries."""

SHADOW_QUEUE = "shadow"
"""Comparisons of a shadow model: GPU workers take them when no study waits."""

ANALYZE_STUDY = "worker.tasks.analyze_study"
DELIVER_STUDY = "worker.tasks.deliver_study"
COMPARE_RUN = "worker.tasks.compare_run"
PREDICT_IMAGE = "worker.tasks.predict_image"
