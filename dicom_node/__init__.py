"""The wire and the objects: SCP, spool, series to HU, SEG, SR, SCU; knows no queue, database or TensorFlow."""
