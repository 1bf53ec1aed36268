# shellcheck shell=sh
#
# What `geto hosts` asks a host.

# request facts: says what `geto hosts` shows. What may take long comes last, so that the origin can
# tell what a host hangs at.
request_facts() {
  [ -z "$g_tasks" ] || [ -w "$g_tasks" ] || fail work-path "$g_tasks: can't be written"
  say system "$(uname -srm 2>/dev/null)"
  say user "$(id -un 2>/dev/null)"
  say shell "${SHELL-}"
  g_error=$(getconf _NPROCESSORS_ONLN 2>/dev/null) || g_error=
  say processors "$g_error"
  g_error=
  for g_rest in tar dd setsid; do
    command -v "$g_rest" >/dev/null 2>&1 || g_error="$g_error $g_rest"
  done
  say missing "$g_error"
  say_load
  say_memory
  say_disk
  say_gpus
  say facts ""
}

# say_load: says the load average of the last minute.
say_load() {
  g_error=
  if [ -n "$g_proc" ]; then
    read -r g_error g_rest <"$g_proc/loadavg"
  else
    g_rest=$(uptime)
    g_rest=${g_rest##*average*: }
    g_error=${g_rest%%[ ,]*}
  fi
  say load "$g_error"
} 2>/dev/null

# say_memory: says how many KiB of memory programs can still have.
say_memory() {
  g_error=
  [ -z "$g_proc" ] || while read -r g_rest g_more; do
    case $g_rest in
      MemAvailable:)
        g_error=${g_more%% *}
        break
        ;;
    esac
  done <"$g_proc/meminfo"
  say memory "$g_error"
} 2>/dev/null

# say_disk: says how many KiB are free at the work path.
say_disk() {
  free_disk
  say disk "$g_free"
} 2>/dev/null

# say_gpus: says how many GPUs there are. Hosts without the vendors' programs pay nothing.
say_gpus() {
  g_error=0
  ! command -v nvidia-smi >/dev/null || g_error=$(nvidia-smi -L | grep -c '^GPU ')
  if [ "$g_error" = 0 ] && command -v rocm-smi >/dev/null; then
    g_error=$(rocm-smi -i | grep -o '^GPU\[[0-9]*\]' | sort -u | grep -c .)
  fi
  say gpus "$g_error"
} 2>/dev/null

# request check: says what may harm tasks later, for `geto hosts --check`. The origin judges it.
request_check() {
  [ -z "$g_tasks" ] || {
    say place "$(cd "$g_work" && pwd -P)"
    say filesystem "$(stat -f -c %T "$g_work" 2>/dev/null)"
    try_work_path
  }
  # Tasks that get a scope of their own are not concerned, and who has no session of logind is nothing to it.
  connection_unit
  has_manager || {
    [ -z "$g_unit" ] || say unit "$g_unit"
    [ -z "${XDG_SESSION_ID-}" ] || say logind "$(logind_settings 2>/dev/null)"
  }
  say checked ""
}

# try_work_path: writes a program into the work path and runs it.
try_work_path() {
  g_file=$g_work/$g_machine/check.$$
  { printf '#!/bin/sh\n' >"$g_file" && chmod 700 "$g_file"; } 2>/dev/null || {
    # Of a full disk shells say that printf failed, or nothing.
    g_error=$(dd if=/dev/zero of="$g_file" bs=4096 count=1 2>&1) && g_error='it can not be written'
    rm -f "$g_file"
    fail work-path "$g_file: ${g_error%%"$g_nl"*}"
    return
  }
  ("$g_file") 2>/dev/null || say noexec yes
  rm -f "$g_file"
}

# logind_settings: prints what the configuration of logind says of ending processes, in the order in
# which it counts: the first logind.conf, and the drop-ins by name, each from the first place; and last what
# logind says itself.
logind_settings() {
  {
    print_first logind.conf
    for g_rest in /etc /run /usr/local/lib /usr/lib; do
      for g_file in "$g_rest"/systemd/logind.conf.d/*.conf; do
        printf '%s\n' "${g_file##*/}"
      done
    done | sort -u | while read -r g_file; do
      print_first "logind.conf.d/$g_file"
    done
    case $(ask_logind KillUserProcesses) in
      *true) echo KillUserProcesses=yes ;;
      *false) echo KillUserProcesses=no ;;
    esac
  } | grep '^[[:space:]]*Kill[A-Za-z]*[[:space:]]*='
}

# print_first NAME: prints the file of that name of the first place that has it.
print_first() {
  for g_rest in /etc /run /usr/local/lib /usr/lib; do
    [ -e "$g_rest/systemd/$1" ] || continue
    cat "$g_rest/systemd/$1"
    echo
    return
  done
}
