"""Text to token shards to batches. No trainer and no DataLoader.

source   what there is to read, and what identifies it: files, a data set of the hub, the village (sources/)
plan     the source cut into jobs, always the same ones
job      what one worker reads, encodes and writes by itself; a unit, where it is encoded on the fly
item     a document, or a part of a long one
block    the items of one split in one batch of text, as tokens
shard    tokens in a file, with a header, where documents begin, and of supervised data which tokens are learnt
row      the tokens of one sequence: a window of the stream, packed documents, the next piece of a lane (serving/)
batch    rows of one pass; the order of samples is arithmetic (order.py)
"""
