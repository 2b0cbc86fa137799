"""Wrong uses of the commands: before each bar what is typed, behind it what must be said."""
from wrong_uses_of_train import TRAIN

GENERATE = """
                                             | run
nowhere                                      | there is no run nowhere
''                                           | is empty
text.txt                                     | text.txt is neither a run nor a shared model
empty                                        | empty
runs/a Ada Ben                               | 'Ben'
runs/a --n 0                                 | n is 0
runs/a --n x                                 | 'x'
runs/a --n 1.5                               | '1.5'
runs/a --n                                   | --n needs a value
runs/a --seed -1                             | seed is -1
runs/a --seed 1e3                            | '1e3'
runs/a --max_tokens -3                       | max_tokens is -3
runs/a --max-tokens=-3                       | max_tokens is -3
runs/a --max_tokens 9999999999               | 9999999999
runs/a --max_new_tokens 5                    | --max_tokens
runs/a --length 5                            | --max_tokens
runs/a --temp 1                              | --temperature
runs/a --tempature 1                         | --temperature
runs/a --temperature x                       | 'x'
runs/a --temperature -1                      | temperature is -1
runs/a --temperature nan                     | nan
runs/a --temperature 1e9                     | temperature is 1000000000
runs/a --top_k -1                            | top_k is -1
runs/a --top_k 2.5                           | '2.5'
runs/a --top_p 0                             | top_p is 0
runs/a --top_p 1.5                           | top_p is 1.5
runs/a --min_p 2                             | min_p is 2
runs/a --min_p -0.5                          | min_p is -0.5
runs/a --repetition_penalty 0                | repetition_penalty is 0
runs/a --stop ''                             | --stop is empty
runs/a --stop                                | --stop needs a value
runs/a --from_step 77                        | step 77
runs/a --from_step x                         | 'x'
runs/a --prompt Ada                          | without a flag
runs/a --num_samples 3                       | --n
runs/a --device cuda                         | processor
runs/a --lr 1                                | the command train has --learning_rate
runs/a --num_beams 4                         | --beams
runs/a --beams 0                             | beams is 0
runs/a --beams 2 --n 3                       | n is 3
runs/a --beams 2 --temperature 1             | draws none
runs/a --length_penalty 1                    | length_penalty is 1
runs/a --beams 2 --length_penalty -1         | length_penalty is -1
runs/a --greedy                              | --temperature, 0
runs/a --well-known                          | '--well-known'
runs/a -- --well-known                       | '--well-known'
runs/a Ada~                                  | '~'
runs/a --prompts nowhere.jsonl               | 'nowhere.jsonl'
runs/a --prompts empty                       | 'empty'
runs/a --prompts ''                          | ''
runs/a --prompts empty.txt                   | empty.txt
runs/a --prompts blank.txt                   | blank.txt
runs/a --prompts binary.bin                  | binary.bin
runs/a --prompts text.jsonl                  | line 1 of text.jsonl
runs/a --prompts number.jsonl                | line 2 of number.jsonl
runs/a --prompts tilde.txt                   | '~'
runs/a Ada --prompts text.txt                | 'Ada' is a prompt
runs/a --out x.jsonl                         | 'x.jsonl'
runs/a --prompts text.txt --out nowhere/x    | nowhere
runs/a --prompts text.txt --out empty        | empty
last --from_step 77                          | step 77
"""
EVALUATE = """
                                             | run
nowhere                                      | there is no run nowhere
''                                           | is empty
runs/a missing.txt                           | 'missing.txt'
runs/a ''                                    | is empty
runs/a empty.txt                             | empty.txt
runs/a tilde.txt                             | '~'
runs/a one.txt                               | 1 token
runs/a --tokens 0                            | tokens is 0
runs/a --tokens -5                           | tokens is -5
runs/a --tokens x                            | 'x'
runs/a --tokens                              | --tokens needs a value
runs/a --from_step 77                        | step 77
runs/a --toknes 7                            | --tokens
runs/a --batch_size 7                        | the command train has --batch_tokens
runs/a loop                                  | 'loop'
runs/a -                                     | standard input
"""
REPORT = """
                                             | run
nowhere                                      | there is no run nowhere
''                                           | is empty
runs/a runs/a                                | 'runs/a'
runs/a --seconds 0                           | seconds is 0
runs/a --seconds -1                          | seconds is -1
runs/a --seconds x                           | 'x'
runs/a --seconds                             | --seconds needs a value
runs/a --from_step 77                        | step 77
runs/a --pairs missing.jsonl                 | 'missing.jsonl'
runs/a --pairs empty.txt                     | no pair in empty.txt
runs/a --pairs text.txt                      | line 1 of text.txt
runs/a --pairs number.jsonl                  | line 1 of number.jsonl
runs/a --second 7                            | --seconds
text.txt                                     | text.txt is neither a run nor a shared model
"""
COMPARE = """
                                             | run
runs/a                                       | name a second run
runs/a nowhere                               | there is no run nowhere
runs/a runs/a                                | runs/a is named twice
runs/a text.txt                              | text.txt is neither a run
runs/a ''                                    | is empty
runs/a runs/b --seconds 0                    | seconds is 0
runs/a runs/b --page nowhere/x.html          | nowhere
runs/a runs/b --page empty                   | empty cannot be written
"""
SWEEP = """
                                             | there is no text
text.txt                                     | no setting differs
text.txt --n_layer 2,4                       | say how long each run is
text.txt --n_layer 2,4 --steps 5 --tokens 9  | not steps and tokens
text.txt --n_layer 2,4 --minutes 1 --halve 3 | --minutes have none
text.txt --n_layer 2,four --steps 5          | 'four'
text.txt --n_layer 4..2 --steps 5            | 4..2
text.txt --n_layer 2,4 --steps 5 --trials -1 | trials is -1
text.txt --n_layer 2,4 --steps 5 --halve 0   | halve is 0
text.txt --n_layer 2,4 --steps 5 --rungs 3   | rungs is 3
text.txt --n_layer 2,4 --steps 5 --halve 3   | the first of 4 rungs
text.txt --steps 0,5                         | steps is 0
text.txt --n_layer 2,4 --steps 5 --grace 0   | grace is 0
text.txt --n_layer 2,4 --steps 5 --name ''   | name is ''
text.txt --n_layer 2,4 --steps 5 --method x  | 'x'
text.txt --n_layer 2..4 --steps 5            | has no end
text.txt --n_layer 2..4 --steps 5 --method grid | add :N
text.txt --n_layer 2..4 --steps 5 --total_minutes 1 --halve 3 | --asynchronous
text.txt --n_leyer 2,4 --steps 5             | --n_leyer
- --n_layer 2,4 --steps 5                    | name a file
text.txt --show a                            | leave out text.txt
--show nowhere                               | there is no sweep 'nowhere'
"""
SCALING = """
                                             | source
missing.json                                 | missing.json holds no runs
text.txt                                     | --total_flops
text.txt --total_flops 1e9                   | more --total_flops
text.txt --total_flops 1e18                  | more than 4 times
text.txt --total_flops x                     | 'x'
missing.json text.txt                        | name it alone
text.txt --budgets 1                         | budgets is 1
text.txt --sizes 2                           | sizes is 2
text.txt --sizes 500                         | sizes is 500
text.txt --name a/b                          | name is 'a/b'
"""
EXPORT = """
                                             | run, folder
runs/a                                       | folder
nowhere x                                    | nowhere
'' x                                         | is empty
runs/a runs                                  | runs is there and not empty
runs/a text.txt                              | text.txt is there
runs/a x --format onnx                       | 'onnx'
runs/a x --quantize q5                       | 'q5'
runs/a x --quantize q8 --format gguf         | --format gguf_q8_0
runs/a x --from_step 77                      | step 77
runs/a x --from_step x                       | 'x'
runs/a x y                                   | 'y'
runs/a x --out y                             | '--out'
"""
EMBED = """
                                             | model
nowhere                                      | nowhere
text.txt                                     | text.txt
runs/a                                       | runs/a
runs/a x                                     | 'x'
runs/a --pooling mean                        | '--pooling'
"""
CHAT = """
                                             | model
nowhere                                      | nowhere
runs/a --seed -1                             | seed is -1
runs/a --max_tokens 0                        | max_tokens is 0
runs/a --temperature -1                      | temperature is -1
runs/a --template nothing                    | nothing
"""
CORPUS = """
                                             | input
text.txt                                     | --out
text.txt --out                               | --out needs a value
text.txt --out ''                            | --out is empty
nowhere --out new                            | there is no text at 'nowhere'
empty --out new                              | there is no file in the folder 'empty'
text.txt --out .                             | is not empty: name a folder of its own
text.txt --out new --workers 0               | workers is 0
text.txt --out new --workers two             | 'two' is no whole number
text.txt --out new --filters gophr           | there is no filter 'gophr': choose gopher
text.txt --out new --filters language        | there is no filter 'language'
text.txt --out new --dedup same              | there is no 'same'
text.txt --out new --held_out nowhere        | there is no text at 'nowhere'
text.txt --out new --lines                   | '--lines'
text.txt --out new --share 3/2               | --share is 3/2: say such as 2/20
text.txt --out new --quality runs/a          | --quality is runs/a: say RUN=LABEL
text.txt --out new --quality nowhere=good    | nowhere
text.txt --out new --quality runs/a=good     | no labels: train with --task classify
"""
SERVE = """
                                             | model
nowhere                                      | nowhere
runs/a --host 0.0.0.0                        | --key
runs/a --host somewhere                      | host is somewhere
runs/a --port 70000                          | port is 70000
runs/a --port x                              | 'x'
runs/a --rows 0                              | rows is 0
runs/a --waiting 0                           | waiting is 0
runs/a --max_tokens 0                        | max_tokens is 0
runs/a --context 1                           | context is 1
runs/a --template nothing                    | nothing
"""
CLASSIFY = """
                                             | run
nowhere                                      | nowhere
runs/a                                       | runs/a learnt the task causal
"""
FILL = """
                                             | run, text
runs/a 'To [MASK]'                           | runs/a learnt the task causal
runs/a 'To [MASK]' --n 0                     | n is 0
"""
FRONT = """
trian                                        | 'trian': did you mean train?
--steps 5                                    | '--steps': choose train
''                                           | '': choose train
"""
BPE = """
trian                                        | 'trian': choose train
''                                           | '': choose train
--vocab_size 300                             | '--vocab_size'
train                                        | FILE
train text.txt                               | --vocab_size
train text.txt --vocab_size 300              | --output
train text.txt --vocab_size x --output x     | 'x'
train text.txt --vocab-size 3 --output x     | vocab_size is 3
train text.txt --vocab_size -3 --output x    | vocab_size is -3
train text.txt --vocab_size 2000000000 --output x | 2,000,000,000
train text.txt --vocab_size 1e22 --output x  | '1e22'
train text.txt --vocab_size 99999999999999999999 --output x | 99999999999999999999
train text.txt --vocab_size 300 --output nowhere/x | nowhere
train text.txt --vocab_size 300 --output empty | empty
train text.txt --vocab_size 300 --output text.txt | both source and target
train text.txt --vocab_size 300 --output     | --output needs a value
train text.txt --vocab_size 300 --output ''  | .
train text.txt --vocab_size 300 --output x --format zip | 'zip'
train text.txt --vocab_size 300 --output x --ties odd | 'odd'
train text.txt --vocab_size 300 --output x --order up | 'up'
train text.txt --vocab_size 300 --output x --min_count 0 | min_count is 0
train text.txt --vocab_size 300 --output x --threads 0 | threads is 0
train text.txt --vocab_size 300 --output x --threads many | 'many'
train text.txt --vocab_size 300 --output x --pattern '(' | (
train text.txt --vocab_size 300 --output x --special '' | special token ''
train text.txt --vocab_size 300 --output x --special a --special a | ['a', 'a']
train text.txt --vocab_size 300 --output x --vocab 5 | did you mean --vocab_size?
train missing --vocab_size 300 --output x    | 'missing'
train '' --vocab_size 300 --output x         | is empty
encode                                       | tokenizer
encode missing.json text.txt                 | missing.json
encode text.txt text.txt                     | text.txt:1:1
encode empty text.txt                        | empty
encode tok.json missing.txt                  | missing.txt
encode tok.json empty                        | empty
encode tok.json special.txt                  | --allow_special
encode tok.json text.txt --threads 0         | threads is 0
encode tok.json short.txt --end_token '<x>'  | '<x>'
encode tok.json short.txt --end_token '<x>' --output ids | '<x>'
encode tok.json text.txt --output text.txt   | both source and target
encode tok.json text.txt --output nowhere/x  | nowhere
encode tok.json text.txt --outptu x          | --output
decode tok.json missing.npy                  | missing.npy
decode tok.json text.txt                     | is no id
decode tok.json 99999.ids                    | 99999
decode tok.json minus.ids                    | -5
decode tok.json damaged.npy                  | damaged.npy
decode tok.json a b                          | 'b'
show tok.json empty                          | empty
show tok.json text.txt --limit 0             | limit is 0
show tok.json text.txt --limit x             | 'x'
show tok.json text.txt --html nowhere/x      | nowhere
show tok.json text.txt --text hallo          | text.txt
show tok.json --colour                       | '--colour'
explain tok.json                             | TEXT
explain missing.json hallo                   | missing.json
"""
STEP = """
missing.py:f                                 | 'missing.py'
good.py                                      | good.py:f
good.py:g                                    | 'g'
good.py:                                     | ''
:f                                           | ':f'
''                                           | ''
good.py:f good.py:f                          | good.py:f
good.py:f --set x=a                          | 'a'
good.py:f --set x=                           | ''
good.py:f --set z=1                          | 'z'
good.py:f --set x                            | x
good.py:f --set                              | --set
good.py:needs                                | needs x
good.py:number                               | returned float
good.py:fails                                | ZeroDivisionError
good.py:x                                    | 'x'
wrong.py:f                                   | SyntaxError
raises.py:f                                  | line 1: KeyError
text.txt:f                                   | text.txt
good.py:f --level fastest                    | 'fastest'
good.py:f --html nowhere/x.html              | nowhere
good.py:f --html empty                       | 'empty'
good.py:f --html ''                          | ''
good.py:f --text=1                           | '1'
good.py:f --levle fast                       | --levle
-x                                           | -x
"""

PICTURE = """
nowhere                                      | nowhere
empty                                        | empty
runs/a --n_layer 3                           | --n_layer describes a new net
runs/a --preset gpt2                         | --preset describes a new net
runs/a --tokens 9                            | tokens is 9, but context_length is 8
runs/a --tokens 0                            | tokens is 0
runs/a --prompt 'he is in the house'         | the prompt has 18 tokens
runs/a --prompt h                            | the prompt has 1 tokens
runs/a --prompt '~~'                         | '~~'
--prompt 'To be' --vocabulary 50             | --vocabulary 256
--preset huge                                | 'huge'
--d_model 100 --n_head 3                     | d_model is 100
--html nowhere/x.html                        | nowhere
--html ''                                    | ''
--prompt ''                                  | the prompt has 0 tokens
"""

SIMULATE = """
nowhere                                      | there is no run nowhere
gpt3 --parameters 7e9                        | gpt3 is one
--parameters 0                               | parameters is 0
--parameters many                            | 'many'
--n_layer 12                                 | say how many
--parameters 7e9 --n_layer 0                 | n_layer is 0
--ranks -1                                   | ranks is -1
--ranks 0                                    | ranks is 0
--data 0                                     | data is 0
--serving_ns 2                               | add --overlap
--serving_ns -1 --overlap                    | serving_ns is -1
--ranks 1.5                                  | '1.5'
--stages 0                                   | stages is 0
--ranks 9 --stages 4                         | use 12
--ranks 8 --data 3 --stages 2                | makes 6
--stages 13                                  | the net has 12 layers
--pipeline fast                              | 'fast'
--zero 4                                     | zero is 4
--network fast                               | network is 'fast'
--network 10Gbit/s,fast                      | 10Gbit/s,20us
--flops -1                                   | flops is -1
--flops 1e9 --straggler 1                    | straggler is '1'
--flops 1e9 --straggler 1:x                  | straggler is 'x'
--flops 1e9 --straggler 1:-2                 | straggler is '-2'
--flops 1e9 --straggler 9:2                  | ranks go from 0 to 7
--flops 1e9 --slow_link 1:slow               | network is 'slow'
--flops 1e9 --batch_tokens 4                 | use 8 or more
--batch_tokens 0                             | batch_tokens is 0
--mtbf -1                                    | mtbf is -1
--flops 1e9 --html nowhere/x.html            | nowhere
--html ''                                    | ''
--stage 4                                    | --stages
"""

LAUNCH = """
                                             | hosts is ''
text.txt                                     | hosts is ''
--hosts                                      | --hosts needs a value
--hosts ''                                   | hosts is ''
--hosts a:0 text.txt                         | 'a:0'
--hosts a:x text.txt                         | 'a:x'
--hosts a:-1 text.txt                        | 'a:-1'
--hosts a,,b text.txt                        | 'a,,b'
--hosts=-oProxyCommand=x text.txt            | '-oProxyCommand=x'
--hosts a,a:2 text.txt                       | a:3
--hosts localhost,b text.txt                 | localhost beside others
"""

# command -> its table
TABLES = {"train": TRAIN, "generate": GENERATE, "evaluate": EVALUATE, "report": REPORT,
          "compare": COMPARE, "sweep": SWEEP, "scaling": SCALING, "export": EXPORT,
          "embed": EMBED, "chat": CHAT, "serve": SERVE, "classify": CLASSIFY,
          "simulate": SIMULATE, "launch": LAUNCH, "corpus": CORPUS, "fill": FILL, "step": STEP,
          "picture": PICTURE, "": FRONT, "bpe": BPE}
