#!/usr/bin/env bash
# Installs what the tests on real parts need, where that may be done; elsewhere says what to install.
set -u
missing=()
PATH="$PATH:/usr/sbin"
command -v mosquitto >/dev/null || missing+=(mosquitto)
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
[ -x /usr/bin/chromium ] || missing+=(chromium)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing for the tests: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || exit 1
else
  echo "Tests on these parts will be skipped; to run them: sudo apt-get install ${missing[*]}"
fi
