"""The labelling page: reference points over a scene, answered by keys, the map's class hidden."""
