# shellcheck shell=sh
# shellcheck disable=SC2154  # the program on the host has set them
#
# For a task with `login`: the program on the host reads this before it becomes the task. The start-up files
# of the login shell come first and do not have the last word: behind them, /bin/sh in the place of that shell
# sets the variables of the task, runs `setup`, and becomes the script. That this is reached tells a script
# from start-up files that end, or become something else.

g_vars=0

# set_aside NAME=VALUE: keeps a variable of the task by a name that start-up files do not know; it is in no
# list of processes.
set_aside() {
  g_vars=$((g_vars + 1))
  export "g_var_$g_vars=$1"
}

# set_own_aside: the same for what geto tells the task, which they may look at, too.
set_own_aside() {
  g_more='GETO_TASK_ID GETO_HOST GETO_SCRIPT GETO_SLOT GETO_CPUS'
  [ "$g_gpus" = 0 ] || g_more="$g_more CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES"
  for g_rest in $g_more; do
    eval "g_more=\${$g_rest-}"
    [ -z "$g_more" ] || set_aside "$g_rest=$g_more"
  done
}

# log_in ARG...: becomes the login shell, which becomes this command.
# shellcheck disable=SC2016,SC2089,SC2090  # for other shells
log_in() {
  g_then='
    true >"$g_task/login"
    cd "$g_task/dir" || exit 126
    case ${g_locale-}/${LC_ALL-} in
      none/C.UTF-8) unset LC_ALL ;;
      =*/C.UTF-8) export "LC_ALL=${g_locale#=}" ;;
    esac
    g_n=0
    while [ "$g_n" -lt "$g_vars" ]; do
      g_n=$((g_n + 1))
      eval "g_rest=\$g_var_$g_n"
      unset "g_var_$g_n"
      case ${ZSH_VERSION-} in
        ?*) typeset -h "${g_rest%%=*}" ;;
        *) unset -v "${g_rest%%=*}" ;;
      esac
      export "$g_rest"
    done
    [ -z "$g_setup" ] || eval "$g_setup" || exit
    set -C
    echo "$g_held" >"$g_task/started" || exit 125
    set +C
    exec <"$g_input"
    unset g_then g_setup g_task g_input g_held g_vars g_locale g_n g_rest
    exec "$@"'
  # What start-up files read is not the task's.
  exec </dev/null
  g_held="$g_start ${g_held-}"
  export g_then g_setup g_task g_input g_held g_vars
  set -- /bin/sh -c 'eval "$g_then"' geto "$@"
  case ${SHELL##*/} in
    fish)
      # In the locale of the standard it changes bytes of variables; that of the login comes back.
      export LC_ALL=C.UTF-8 "g_locale=${g_locale:-none}"
      become "$SHELL" -l -c 'exec $argv' "$@"
      ;;
    csh | tcsh) become "$SHELL" -c 'if (-r ~/.login) source ~/.login; exec $argv:q' "$@" ;;
    *) become "${SHELL:-/bin/sh}" -l -c 'exec "$@"' sh "$@" ;;
  esac
}
