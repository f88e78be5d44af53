"""Training, evaluation, metrics, checkpoints and prediction on folders (chapters 10 to 14).

settings, devices                                     what a run does, and where (chapters 11 and 13)
training, trainer, callbacks, resuming, feature_cache training and exact resuming (chapters 10 and 11)
evaluation, metrics, checkpoints                      testing a learner, keeping it (chapters 04 and 12)
folders                                               your own images (chapter 14)
"""
