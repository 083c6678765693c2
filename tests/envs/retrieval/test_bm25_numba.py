"""The compiled search finds what the NumPy one finds: numbers, order and scores, exactly."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym_envs.retrieval import bm25_numba_search
from agentgym_envs.retrieval.bm25 import BM25
from agentgym_envs.retrieval.bm25_chunks import inverted
from agentgym_envs.retrieval.bm25_merge import merged
