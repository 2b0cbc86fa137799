"""Wrong uses of the command that trains: what is typed, a bar, and what must be said."""

TRAIN = """
--timeline 0                                 | timeline is 0
--timeline 3                                 | timeline is 3
--lr 0.1                                     | --learning_rate
--LR 0.1                                     | --learning_rate
--max-lr 0.1                                 | --learning_rate
--block_size 64                              | --context_length
--block-size=64                              | --context_length
--n_embd 64                                  | --d_model
--hidden_size 64                             | --d_model
--n_layers 3                                 | --n_layer
--num_heads 3                                | --n_head
--out_dir x                                  | --runs
--output_dir x                               | --runs
--init_from gpt2                             | --resume
--device cpu                                 | processor
--cuda                                       | processor
--dtype float16                              | float32
--compile                                    | compiled always is
--epochs 3                                   | --minutes
--batch_size 8                               | --batch_tokens
--bs 8                                       | --batch_tokens
--max_iters 100                              | --steps
--wandb                                      | --log
--report_to wandb                            | --log
--grad_clip 1                                | --clip_norm
--wd 0.1                                     | --weight_decay
--vocab_size 500                             | --vocabulary
--dataset x                                  | without a flag
--num_workers 2                              | MINIGRAD_THREADS
--prompt hallo                               | without a flag
--max_new_tokens 5                           | the command generate has --max_tokens
--gradient_accumulation_steps 4              | --micro_batch
--eval_interval 10                           | --eval_every
--patience 3                                 | by itself
--n_layr 2                                   | did you mean --n_layer?
--temprature 1                               | '--temprature'
--n-layr=2                                   | did you mean --n_layer?
--well-known                                 | '--well-known': --help
-x                                           | '-x'
-lr 0.1                                      | --learning_rate
text.txt --qqqqqq                            | '--qqqqqq'
--steps                                      | --steps needs a value
text.txt --steps --plain                     | --steps needs a value, but --plain follows
--resume --steps 5                           | --resume needs a value, but --steps follows
--lora_r 8                                   | --lora_rank
--target_modules q_proj                      | --lora_on
--train_on_inputs                            | --loss_on
--lora_rank 8                                | beside the weights of one: add --base
--lora_on '*mlp*' --base x                   | say how wide they are, as in --lora_rank 8
--pipeline 1f1b                              | say how many, as in --stages 2
--pipeline 2f2b --stages 2                   | '2f2b'
--stages 1                                   | stages is 1
--stages 2                                   | start mpiexec -n 2
--stages 2 --zero 2                          | leave one out
--stages 2 --trace_step 3                    | leave --stages out
--zero 2                                     | start mpiexec -n 2
--zero 4                                     | choose from 1, 2, 3
--shards 2                                   | as in --zero 2
--zero 2 --shards 1                          | shards is 1
--zero 3 --profile                           | take --zero 2
--steps x                                    | 'x' is no whole number
--steps 1.5                                  | '1.5' is no whole number
--steps 1e3                                  | '1e3' is no whole number
--steps ''                                   | '' is no whole number
--steps 0                                    | steps is 0
--steps -4                                   | steps is -4
--steps 3000000000                           | 3000000000
--steps 99999999999999999999999              | 99999999999999999999999
--minutes 0                                  | minutes is 0
--minutes -1                                 | minutes is -1
--minutes x                                  | 'x' is no number
--minutes nan                                | nan is no finite number
--minutes inf                                | inf is no finite number
--minutes 1e999                              | 1e999 is no finite number
--minutes 5m                                 | '5m'
--minutes 5,5                                | '5,5'
--steps 3 --minutes 1                        | leave one of them out
--minutes 1 --steps 3                        | leave one of them out
--resume ''                                  | --resume is empty
--resume ' '                                 | --resume is empty
--name ''                                    | --name is empty
--runs ''                                    | --runs is empty
--tokenizer ''                               | --tokenizer is empty
--val ''                                     | --val is empty
--name a/b                                   | 'a/b'
--name ..                                    | '..'
--name ../x                                  | '../x'
--resume runs/a text.txt                     | leave out text.txt
text.txt --resume runs/a                     | leave out text.txt
--resume runs/a --preset gpt2                | --preset is for a new run
--resume runs/a --preset fast                | --preset is for a new run
--resume runs/a --name b                     | --name is for a new run
--resume runs/a --runs b                     | --runs is for a new run
--resume runs/a --check                      | --check is for a new run
--resume runs/a --seeds 3                    | --seeds is for a new run
--seeds 1                                    | seeds is 1
--seeds x                                    | 'x'
--seeds 3 --check                            | leave one of them out
text.txt --canaries --task masked            | --canaries are lines of a text to be continued
--resume runs/a --n_layer 3                  | --n_layer belongs to the run
--resume runs/a --lr 3                       | --learning_rate
--resume nowhere                             | there is no run nowhere
--resume last --runs empty                   | there is no run in empty
--resume last --runs nowhere                 | there is no run in nowhere
--resume text.txt                            | there is no run text.txt
--resume empty                               | empty
--resume runs/a --from_step 77               | step 77
--resume runs/a --from_step x                | 'x'
--from_step 3                                | --resume RUN
--preset huge                                | 'huge'
--preset ''                                  | ''
--log nothing                                | 'nothing'
--log trackio                                | pip install trackio
--plain=5                                    | --plain takes no value, but '5'
--check=yes                                  | 'yes'
--trace_step x                               | 'x'
--optimizer nonsense                         | 'nonsense'
--schedule nonsense                          | 'nonsense'
--position nonsense                          | 'nonsense'
--norm nonsense                              | 'nonsense'
--mlp nonsense                               | 'nonsense'
--init nonsense                              | 'nonsense'
--tokenizer char --vocabulary 1000           | vocabulary is 1000
--tokenizer byte --vocabulary 1000           | vocabulary is 1000
--tokenizer tok.json --vocabulary 1000       | vocabulary is 1000
--warmup_steps 1000 --steps 5                | warmup_steps is 1000
--warmup_steps 6 --steps 5                   | warmup_steps is 6
--val text.txt --val_fraction 0.2            | leave one of them out
--n_layer 2.0                                | '2.0'
--d_model ''                                 | ''
--batch_tokens 1e22                          | '1e22'
--batch_tokens 10000000000000000000000       | 10000000000000000000000
--vocabulary 1000000000000                   | 1000000000000
--vocabulary x                               | 'x'
text.txt --vocabulary 1000000000             | 1,000,000,000
text.txt --vocabulary 14500                  | 14,500
text.txt --n_layer 0                         | n_layer is 0
text.txt --n_head 0                          | n_head is 0
text.txt --d_model -4                        | d_model is -4
text.txt --context_length 0                  | context_length is 0
text.txt --dropout 1                         | dropout is 1
text.txt --dropout -0.1                      | dropout is -0.1
text.txt --learning_rate 0                   | learning_rate is 0
text.txt --learning_rate -1e-3               | learning_rate is -0.001
text.txt --beta1 1                           | beta1 is 1
text.txt --val_fraction 0                    | val_fraction is 0
text.txt --val_fraction 0.95                 | val_fraction is 0.95
text.txt --decay_fraction 1.5                | decay_fraction is 1.5
text.txt --warmup_steps -1                   | warmup_steps is -1
text.txt --batch_tokens 0                    | batch_tokens is 0
text.txt --evaluations 0                     | evaluations is 0
text.txt --seed -1                           | seed is -1
text.txt --clip_norm -1                      | clip_norm is -1
text.txt --d_model 100 --n_head 3            | d_model is 100
text.txt --n_head 4 --n_kv_head 3 --d_model 64 | n_kv_head 3
text.txt --d_model 6 --n_head 2              | each head has 3
text.txt --task translate                    | 'translate'
text.txt --task prefer                       | name it with --base
text.txt --task reward                       | name it with --base
text.txt --task distil                       | name it with --teacher
text.txt --task distil --teacher runs/a --tokenizer byte | comes from the teacher
text.txt --task distil --teacher nowhere     | there is no run nowhere
text.txt --task prefer --base runs/a         | no JSON
text.txt --task reward --base runs/a         | no JSON
text.txt --task prefer --base runs/a --rule x.py:f | 'x.py:f'
sums --task reward --base runs/a --reward rigth | 'rigth'
text.txt --beta 0.5                          | beta is of the task prefer
text.txt --teacher runs/a                    | teacher is of the task distil
text.txt --kl 0.5                            | kl is of the task reward
text.txt --mix 1.5                           | mix is 1.5
text.txt --samples 1                         | samples is 1
text.txt --plan x                            | 'x'
text.txt --plan 0:0:1                        | '0:0:1'
text.txt --tokenizer nothing.json            | 'nothing.json'
text.txt --context_length 100000             | context_length is 100000
text.txt --val nowhere.txt                   | 'nowhere.txt'
text.txt --runs text.txt                     | text.txt
text.txt --runs text.txt/x                   | text.txt/x
missing.txt                                  | 'missing.txt'
text.tx                                      | did you mean text.txt?
shakespear                                   | did you mean shakespeare?
''                                           | is empty
' '                                          | is empty
text.txt ''                                  | is empty
text.txt missing.txt                         | 'missing.txt'
text.txt stdlib                              | stdlib cannot be mixed
'*.nothing'                                  | '*.nothing'
empty                                        | 'empty'
empty.txt                                    | empty.txt
blank.txt                                    | blank.txt
binary.bin                                   | binary.bin
fake.gz                                      | fake.gz
cut.gz                                       | cut.gz
loop                                         | 'loop'
dangling                                     | 'dangling'
short.txt                                    | context_length
-- --well-known                              | '--well-known'
-- -                                         | standard input
-                                            | standard input
"""
