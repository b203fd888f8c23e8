"""The laboratory: data sets, training, evaluation and the numbers of the replication."""
