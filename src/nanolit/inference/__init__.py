"""From a model to text: prefill, decode, sample. Ids in, ids out; the tokenizer enters only in the text wrapper."""
