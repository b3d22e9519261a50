"""Live traffic: assign, retrieve, answer, log, watch; what the HTTP service does, without HTTP."""
