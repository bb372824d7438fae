from importlib.util import find_spec

# It runs where tfmot is installed, in an environment of its own: see `.ci/run`.
collect_ignore = [] if find_spec("tf_keras") else ["tfmot_bridge.py"]
