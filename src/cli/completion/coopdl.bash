# SPDX-License-Identifier: Apache-2.0
# coopdl.bash -- completion of coopdl's command line in bash; behind DURATION it is COMMAND's own.
# shellcheck shell=bash

# The place of DURATION among the words: behind the options and their values.
_coopdl_duration() {
  local place=1
  while ((place < COMP_CWORD)); do
    case ${COMP_WORDS[place]} in
      --) ((++place)) && break ;;
      --grace | --signal | --kill-after)
        # bash makes three words of --grace=5s
        [[ ${COMP_WORDS[place + 1]} == '=' ]] && ((++place))
        ((place += 2))
        ;;
      -s | -k) ((place += 2)) ;;
      -*) ((++place)) ;;
      *) break ;;
    esac
  done
  echo "$place"
}

_coopdl() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  local duration
  duration=$(_coopdl_duration)
  COMPREPLY=()
  if ((COMP_CWORD > duration)); then
    if declare -F _command_offset >/dev/null; then
      _command_offset $((duration + 1))
    elif ((COMP_CWORD == duration + 1)); then
      mapfile -t COMPREPLY < <(compgen -c -- "$word")
    else
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
    return
  fi
  [[ $word == '=' ]] && word=''
  [[ $before == '=' ]] && before=${COMP_WORDS[COMP_CWORD - 2]}
  case $before in
    -s | --signal) mapfile -t COMPREPLY < <(compgen -A signal -- "SIG${word#SIG}") ;;
    --grace | -k | --kill-after) mapfile -t COMPREPLY < <(compgen -W 'off 0 1s 5s 30s 1m' -- "$word") ;;
    --check) mapfile -t COMPREPLY < <(compgen -c -- "$word") ;;
    *)
      if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '--grace= -s --signal= -k --kill-after= -f --foreground
          -p --preserve-status -q --quiet --report --ruby --stacks --tree -v --verbose --check --status --help --version' -- "$word")
        [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null
      else
        mapfile -t COMPREPLY < <(compgen -W '5s 30s 1m 10m 1h' -- "$word")
      fi
      ;;
  esac
}

complete -F _coopdl coopdl
