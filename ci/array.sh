#!/bin/bash
#SBATCH --array=0-19 --gres=gpu:1 --cpus-per-task=8 --time=4-00:00:00 --output=build/slurm-%A_%a.log
#
# Train and test methods on folds with chapter 13, one report for each pair in build/.
#
#   sbatch ci/array.sh                  on a cluster, a job for each pair: the five learners on four folds of Pascal-5i
#   bash ci/array.sh                    the same here, one after another; then one table of all results in build/table.md
#   METHODS="asnet hsnet" FOLDS="0 1" bash ci/array.sh -p datapath data/tiny -p steps 20
#   METHODS="asnet hsnet" FOLDS="0 1" sbatch --array=0-3 ci/array.sh     four runs, on a cluster
#
# Arguments go to papermill; without any, the runs are as published. The data are in data, unless an argument names others
# or a file of parameters (-f). NAME=... begins the reports' names. cst and emat need a backbone as well, such as
# -p backbone dinov2_vits14. A run that fails does not keep the others from their turns. Give the same command again to
# go on.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
[ ! -f .venv/bin/activate ] || source .venv/bin/activate # (with conda, activate it before)
mkdir -p build

read -ra methods <<<"${METHODS:-panet pfenet hsnet asnet asnethm}"
read -ra folds <<<"${FOLDS:-0 1 2 3}"
if [ ${#methods[@]} -eq 0 ] || [ ${#folds[@]} -eq 0 ] || [[ ! "${FOLDS:-0}" =~ ^(\ *[0-3])+\ *$ ]]; then
    echo "METHODS is '${METHODS:-}' and FOLDS is '${FOLDS:-}'; give names with spaces between them, and folds from 0 to 3." >&2
    exit 2
fi
case " $* " in *datapath* | *" -f "* | *" --parameters_file "*) ;; *) set -- -p datapath data "$@" ;; esac

failed="" first=0 last=$((${#methods[@]} * ${#folds[@]} - 1))
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    [ "$SLURM_ARRAY_TASK_ID" -le "$last" ] || {
        echo "Run $SLURM_ARRAY_TASK_ID: there are only $((last + 1)) runs; give sbatch --array=0-$last." >&2
        exit 2
    }
    first=$SLURM_ARRAY_TASK_ID last=$SLURM_ARRAY_TASK_ID
fi
for ((task = first; task <= last; task++)); do
    method=${methods[task / ${#folds[@]}]} fold=${folds[task % ${#folds[@]}]}
    papermill notebooks/13_full_training.ipynb "build/${NAME:-}$method-fold$fold.ipynb" \
        -p method "$method" -p fold "$fold" "$@" || failed="$failed $method-fold$fold"
done
if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    python -m ifsl.collect logs --format markdown --out build/table.md
    cat build/table.md
fi
if [ -n "$failed" ]; then
    echo "These runs failed; their reports in build say why:$failed" >&2
    exit 1
fi
