"""Catalogues, waveforms, samples and batches."""
