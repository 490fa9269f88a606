# SPDX-License-Identifier: Apache-2.0
# coopdl.fish -- completion of coopdl's command line in fish; behind DURATION it is COMMAND's own.

# The words behind the options and their values: DURATION, COMMAND and its arguments.
function __coopdl_operands
    set -l words (commandline -opc) (commandline -ct)
    set -e words[1]
    while set -q words[2]
        switch $words[1]
            case --
                set -e words[1]
                break
            case -s -k --grace --signal --kill-after
                set -e words[1..2]
            case '-*'
                set -e words[1]
            case '*'
                break
        end
    end
    string escape -- $words
end

function __coopdl_at_duration
    test (count (__coopdl_operands)) -le 1
end

complete -c coopdl -f
complete -c coopdl -n __coopdl_at_duration -l grace -x -a 'off 0 1s 5s 30s 1m' -d 'How long after the deadline the signal is sent'
complete -c coopdl -n __coopdl_at_duration -s s -l signal -x -a 'TERM INT HUP QUIT KILL USR1 USR2' -d 'The signal'
complete -c coopdl -n __coopdl_at_duration -s k -l kill-after -x -a 'off 0 1s 5s 30s 1m' -d 'How long after the signal KILL is sent'
complete -c coopdl -n __coopdl_at_duration -s f -l foreground -d 'Signal the command alone, and leave it the terminal'
complete -c coopdl -n __coopdl_at_duration -s p -l preserve-status -d 'Exit with the status of the command also after the deadline'
complete -c coopdl -n __coopdl_at_duration -s q -l quiet -d 'Do not say what was stuck'
complete -c coopdl -n __coopdl_at_duration -l report -d 'Say at the end where the time went'
complete -c coopdl -n __coopdl_at_duration -l ruby -d 'Start the command with RUBYOPT=-rcoopdl'
complete -c coopdl -n __coopdl_at_duration -l stacks -d 'Print the stacks of all threads at the deadline'
complete -c coopdl -n __coopdl_at_duration -l tree -d 'End daemons of the command too'
complete -c coopdl -n __coopdl_at_duration -s v -l verbose -d 'One line when the deadline has passed, and for each signal'
complete -c coopdl -n __coopdl_at_duration -l check -x -a '(__fish_complete_command)' -d 'Say what a deadline needs and what is there'
complete -c coopdl -n __coopdl_at_duration -l status -x -a '(__fish_complete_pids)' -d 'Say what a process waits in'
complete -c coopdl -n __coopdl_at_duration -l help -d 'Print a help text and exit'
complete -c coopdl -n __coopdl_at_duration -l version -d 'Print the version and exit'
complete -c coopdl -n __coopdl_at_duration -a '5s 30s 1m 10m 1h' -d Duration
complete -c coopdl -n 'not __coopdl_at_duration' -a '(complete --do-complete=(string join " " -- (__coopdl_operands)[2..-1]))'
