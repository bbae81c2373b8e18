"""Maps of whole scenes, strip by strip, without torch: classes, changes, embeddings, and the files beside a map."""
